"""`vigor-jax evaluate`: what it prints and writes; what an evaluation finds, tests/studies/test_evaluation.py says."""

import json

import jax
import pytest

from vigor_jax import tasks


@pytest.fixture(scope="module")
def run(tmp_path_factory, town_config, leave_run):
    """(workdir, config) of a run that ended where it began."""
    config, workdir = town_config(), tmp_path_factory.mktemp("runs") / "town"
    leave_run(workdir, config, jax.device_get(tasks.create(config).init(jax.random.key(7))))
    return workdir, config


def test_the_table_is_printed_and_all_figures_are_written(run_command, run, tmp_path, capsys):
    workdir, config = run
    found = tmp_path / "found.json"
    before = sorted(workdir.rglob("*"))
    data = [f"--root={config.data.root}", f"--data_dir={tmp_path / 'prepared'}", "--config.seed=5"]
    assert run_command("evaluate", workdir, "--splits=cross_area", *data, f"--json={found}") == 0
    header, line, row = capsys.readouterr().out.splitlines()
    figures = json.loads(found.read_text())
    columns = [column for column in header.split("  ") if column]
    assert [column.strip() for column in columns[:4]] == ["epoch", "split", "top-1%", "top-1"]
    assert set(line) == {"-"}
    assert row.split()[:2] == ["1", "cross_area"]
    assert row.split()[3] == f"{100 * figures['metrics']['cross_area/top1']:.1f}"
    assert set(name.split("/")[0] for name in figures["metrics"]) == {"cross_area"}
    assert figures["config"]["data"]["data_dir"] == str(tmp_path / "prepared")
    assert figures["config"]["seed"] == 5
    assert (figures["workdir"], figures["checkpoint"], figures["step"]) == (str(workdir), "last", 3)
    assert {path.name.split("-")[0] for path in (tmp_path / "prepared/vigor").iterdir()} == {"Chicago"}
    assert sorted(workdir.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "there is no {tmp}/run/summary.json: {tmp}/run holds no run."),
        (["--split=test"], "there is no option --split. Did you mean --splits?\n\nusage: vigor-jax evaluate"),
        (["--config.batch.siez=3"], "config.batch.siez is not a config key. Did you mean config.batch.size?"),
    ],
)
def test_what_is_wrong_is_said(run_command, tmp_path, capsys, arguments, said):
    assert run_command("evaluate", tmp_path / "run", *arguments) == 2
    assert f"error: {said}".replace("{tmp}", str(tmp_path)) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--checkpoint=best"], "no checkpoint 'best'. Those of these steps were kept: 3."),
        (["--splits=cross_area,test"], "there is no split 'test' to evaluate. There are: validation, same_area, cross"),
        (["--config.model.num_heads=4"], "config.model.num_heads = 4: the run was trained with 2."),
        (["--config.eval_batch_size=many"], "flag --config.eval_batch_size=many: "),
        (["--config.images.root=x"], "config.images.root is not read by config.task = 'cross_view'"),
        (["--config.eval_batch_size=0"], "config.eval_batch_size = 0"),
    ],
)
def test_what_the_run_has_not_is_said(run_command, run, capsys, arguments, said):
    assert run_command("evaluate", run[0], *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
