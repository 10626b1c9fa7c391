import json

import pytest

from vigor_jax.workdir import results as runs
from vigor_jax.workdir.results import ReportError


def test_epochs_and_values_are_those_logged(write_run, tmp_path):
    run = runs.read(write_run(tmp_path).workdir)
    epochs, values = run.trained("loss")
    assert epochs == [step / 4 for step in range(1, 13)]
    assert values == [1 / step for step in range(1, 13)]
    assert run.logged == ["loss", "grad_norm"]
    assert run.evaluated("top1")["cross_area"] == ([1, 2, 3], [pytest.approx(0.25 * k / 3) for k in (1, 2, 3)])
    assert run.evaluated("nothing of the kind") == {}


def test_the_split_that_selects_comes_last(write_run, tmp_path):
    assert runs.read(write_run(tmp_path).workdir).splits == ["cross_area", "validation"]


def test_a_last_line_cut_off_is_left_out(write_run, tmp_path):
    workdir = write_run(tmp_path).workdir
    before = runs.read(workdir).history
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 13, "train/lo')
    assert runs.read(workdir).history == before


def remove_summary(workdir):
    (workdir / "summary.json").unlink()
    return "an unfinished run"


def remove_everything(workdir):
    for path in workdir.iterdir():
        path.unlink()
    return "no run of main.py"


def remove_history(workdir):
    (workdir / "metrics.jsonl").unlink()
    return "metrics.jsonl, which the curves"


def cut_summary(workdir):
    path = workdir / "summary.json"
    path.write_text(path.read_text()[:-5])
    return "is damaged"


def take_a_key(workdir):
    path = workdir / "summary.json"
    summary = json.loads(path.read_text())
    del summary["versions"]
    path.write_text(json.dumps(summary))
    return "has no 'versions'"


@pytest.mark.parametrize("damage", [remove_summary, remove_everything, remove_history, cut_summary, take_a_key])
def test_what_is_missing_is_named(damage, write_run, tmp_path):
    message = damage(write_run(tmp_path).workdir)
    with pytest.raises(ReportError, match=message):
        runs.read(tmp_path)
