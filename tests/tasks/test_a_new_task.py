"""What a new task must bring is one file (`toy_task.py`) and one line of the registry; all else works by itself."""

import signal

import jax
import numpy as np
import pytest

from tests.tasks import toy_task
from vigor_jax import tasks
from vigor_jax.commands import command_line
from vigor_jax.config import ConfigError
from vigor_jax.errors import Preempted
from vigor_jax.train.loop import train_and_evaluate
from vigor_jax.workdir import finished_run

TREE = {
    "name": "line",
    "task": "line",
    "epochs": 8,
    "points": {"noise": 0.05},
    "optimizer": {"learning_rate": 0.1},
    "batch": {"size": 8},
}


@pytest.fixture(autouse=True)
def register(monkeypatch):
    monkeypatch.setitem(tasks.REGISTRY, "line", toy_task.ENTRY)


@pytest.fixture
def closed(monkeypatch):
    """The tasks that were closed."""
    ended = []
    monkeypatch.setattr(toy_task.Line, "close", lambda self: ended.append(self))
    return ended


@pytest.fixture
def trained(tmp_path, closed):
    """`(workdir, summary)` of a whole run."""
    return tmp_path / "whole", train_and_evaluate(tasks.parse(TREE), tmp_path / "whole")


def learnt(workdir):
    return finished_run.read(workdir, tasks.parse_stored).variables["params"]


def test_it_trains_and_is_closed(trained, closed):
    workdir, summary = trained
    assert summary["steps"] == 8 * 48 // 8
    assert summary["metrics"]["validation/r_squared"] > 0.99
    params = learnt(workdir)
    assert params["slope"] == pytest.approx(toy_task.SLOPE, abs=0.1)
    assert params["intercept"] == pytest.approx(toy_task.INTERCEPT, abs=0.1)
    assert len(closed) == 1


def test_it_goes_on_after_a_stop_to_the_same_line(trained, closed, tmp_path, monkeypatch):
    def stop(self, step, feedback):
        if step == 20:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(toy_task.Line, "take_feedback", stop)
        with pytest.raises(Preempted):
            train_and_evaluate(tasks.parse(TREE), tmp_path / "stopped")
    assert len(closed) == 2  # a start that is stopped closes its task too
    again = train_and_evaluate(tasks.parse(TREE), tmp_path / "stopped")
    jax.tree.map(np.testing.assert_array_equal, learnt(tmp_path / "stopped"), learnt(trained[0]))
    assert again["metrics"] == trained[1]["metrics"]


def test_its_page_has_its_section_and_is_made_again_from_the_workdir(trained, capsys):
    page = trained[0] / "report.html"
    assert "68 points about a line." in page.read_text()
    page.unlink()
    assert command_line.main(["report", str(trained[0])]) == 0
    assert "68 points about a line." in page.read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": {"nose": 1.0}}, r"config\.points\.nose is not a config key\. Did you mean config\.points\.noise\?"),
        ({"points": {"noise": -1.0}}, r"config\.points\.noise = -1\.0: a standard deviation"),
        ({"mining": {"enabled": True}}, r"config\.mining is not read by config\.task = 'line', only by 'cross_view'"),
        ({"task": "cross_view"}, r"config\.points is not read by config\.task = 'cross_view', only by 'line'"),
    ],
)
def test_its_group_is_its_own(changes, message):
    with pytest.raises(ConfigError, match=message):
        tasks.parse(TREE | changes)
