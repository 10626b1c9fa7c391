import json

import pytest

from vigor_jax.workdir import metrics_log
from vigor_jax.workdir.metrics_log import MetricWriter


def steps(directory):
    return [row["step"] for row in metrics_log.read(directory / "metrics.jsonl")]


def test_rows_are_on_disk_at_once(tmp_path):
    with MetricWriter(tmp_path, 0) as writer:
        writer.write(10, {"train/loss": 0.5})
        writer.write(10, {"epoch": 1, "validation/top1": 0.25})
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 10, "train/loss": 0.5},
        {"step": 10, "epoch": 1, "validation/top1": 0.25},
    ]


def test_tensorboard_gets_the_same(tmp_path):
    with MetricWriter(tmp_path, 0) as writer:
        writer.write(10, {"train/loss": 0.5})
    (events,) = tmp_path.glob("events.out.tfevents.*")
    assert b"train/loss" in events.read_bytes()


@pytest.mark.parametrize(("goes_on_from", "kept"), [(0, []), (19, [10]), (20, [10, 20, 20]), (99, [10, 20, 20, 30])])
def test_going_on_drops_later_rows(tmp_path, goes_on_from, kept):
    with MetricWriter(tmp_path, 0) as writer:
        for step in (10, 20, 20, 30):
            writer.write(step, {"train/loss": 0.5})
    with MetricWriter(tmp_path, goes_on_from) as writer:
        assert steps(tmp_path) == kept
        writer.write(100, {"train/loss": 0.1})
    assert steps(tmp_path) == [*kept, 100]


def test_a_line_cut_off_by_a_kill_is_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "train/loss": 0.5}\n{"step": 20, "tra')
    with MetricWriter(tmp_path, 30):
        assert steps(tmp_path) == [10]


def test_an_evaluation_that_is_done_again_is_written_once(tmp_path):
    """What its step logged stays, and so do the evaluations before it."""
    with MetricWriter(tmp_path, 0) as writer:
        for step in (10, 20):
            writer.write(step, {"train/loss": 0.5})
            writer.write(step, {"epoch": step // 10})
    with MetricWriter(tmp_path, 20, evaluates_again=True):
        kept = metrics_log.read(tmp_path / "metrics.jsonl")
    assert [(row["step"], "epoch" in row) for row in kept] == [(10, False), (10, True), (20, False)]
