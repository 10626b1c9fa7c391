"""The summary of a run is read in one place, whole or not at all."""

import json

import pytest

from vigor_jax import config as configs
from vigor_jax import tasks
from vigor_jax.workdir import summary
from vigor_jax.workdir.errors import NoFinishedRun, RunFileError

CONFIG = {
    "name": "written",
    "task": "cross_view",
    "epochs": 2,
    "data": {"name": "vigor", "train_cities": ("Seattle",), "protocols": ("same_area",)},
    "model": {"aggregation": "safa"},
    "batch": {"size": 8},
}
WHOLE = {"config": {}, "steps": 8, "metrics": {}, "throughput": {}, "versions": {}}


def test_what_was_written_is_read_and_a_report_is_due_until_it_is_made(tmp_path):
    path = summary.write(tmp_path, WHOLE)
    assert path == tmp_path / "summary.json"
    assert summary.read(tmp_path) == WHOLE
    assert summary.report_is_due(tmp_path)
    summary.reported(tmp_path)
    assert not summary.report_is_due(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["summary.json"]


@pytest.mark.parametrize("left", ["checkpoints", "metrics.jsonl"])
def test_a_run_without_summary_is_unfinished(left, tmp_path):
    (tmp_path / left).mkdir()
    with pytest.raises(NoFinishedRun, match="holds an unfinished run"):
        summary.read(tmp_path)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(NoFinishedRun, match=rf"no {tmp_path / 'summary.json'}: {tmp_path} holds no run"):
        summary.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps(WHOLE)[:-5], r"summary\.json is damaged"),
        (b"\xff", r"summary\.json is damaged"),
        ("[]", "has no 'config'"),
        (json.dumps({name: value for name, value in WHOLE.items() if name != "versions"}), "has no 'versions'"),
    ],
)
def test_a_damaged_summary_is_an_error_of_the_reader_and_of_a_run_that_begins(content, message, tmp_path):
    path = tmp_path / "summary.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for read in (summary.read, lambda workdir: summary.finished(workdir, tasks.parse(CONFIG))):
        with pytest.raises(RunFileError, match=message):
            read(tmp_path)


def test_only_a_run_of_the_very_config_is_finished(tmp_path):
    config = tasks.parse(CONFIG)
    assert summary.finished(tmp_path, config) is None
    summary.write(tmp_path, WHOLE | {"config": configs.to_dict(config)})
    assert summary.finished(tmp_path, config)["steps"] == 8
    assert summary.finished(tmp_path, tasks.parse(CONFIG | {"epochs": 3})) is None
