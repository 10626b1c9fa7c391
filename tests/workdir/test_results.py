import pytest

from vigor_jax.workdir import results as runs
from vigor_jax.workdir.errors import RunFileError


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


def remove_history(workdir):
    (workdir / "metrics.jsonl").unlink()
    return "metrics.jsonl, which the curves"


def damage_history(workdir):
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], lines[2][:-9] + "\n", *lines[3:]]))
    return r"metrics\.jsonl is damaged: line 3"


@pytest.mark.parametrize("damage", [remove_history, damage_history])
def test_what_is_missing_is_named(damage, write_run, tmp_path):
    message = damage(write_run(tmp_path).workdir)
    with pytest.raises(RunFileError, match=message):
        runs.read(tmp_path)
