"""A checkpoint from elsewhere is numbers and JSON: reading it resolves no name of Python's that a file brings."""

import json
import pickle
import sys

import jax
import numpy as np
import pytest

from vigor_jax.config import OptimizerConfig
from vigor_jax.parallel import mesh as meshes
from vigor_jax.train import optimizer as optimizers
from vigor_jax.train import state as states
from vigor_jax.train.checkpoint import Checkpoints, ResumeError

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

resolved: list[tuple] = []
sys.addaudithook(lambda event, arguments: resolved.append(arguments) if event == "pickle.find_class" else None)


class Malicious:
    """Pickles as a call that makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return __import__("os").mkdir, (str(self.folder),)


@pytest.fixture
def checkpoint(toy_task, tmp_path):
    """(folder of a checkpoint, a function that restores all of it)."""
    task, optimizer = toy_task(), optimizers.create(OptimizerConfig())
    mesh = meshes.data_mesh(jax.devices()[:1])
    state = states.create(task, optimizer, 0, mesh)

    def opened():
        return Checkpoints(tmp_path / "checkpoints", newest=1, selection_metric="validation/top1")

    with opened() as checkpoints:
        checkpoints.save(1, state, {"made": "here"}, None, plan={"rows": np.arange(3)})

    def restore():
        with opened() as checkpoints:
            restored = checkpoints.restore(1, states.abstract(task, optimizer, 0, mesh))
            return restored, checkpoints.record(1), checkpoints.plan(1, {"rows": np.arange(3)})

    return tmp_path / "checkpoints" / "1", restore


def test_nothing_is_unpickled(checkpoint, tmp_path):
    pickle.loads(pickle.dumps(np.arange(3)))
    assert resolved  # the hook hears of pickles
    _, restore = checkpoint
    resolved.clear()
    restored, record, plan = restore()
    assert record == {"made": "here"}
    assert plan["rows"].tolist() == [0, 1, 2]
    assert int(restored.step) == 0
    assert not resolved


def test_pickles_in_the_place_of_its_files_do_not_run(checkpoint, tmp_path):
    folder, restore = checkpoint
    body = pickle.dumps(Malicious(tmp_path / "executed"))
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert len(files) > 5
    for path in files:
        path.write_bytes(body)
    with pytest.raises((ResumeError, FileNotFoundError)):
        restore()
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[]", b"{", b"null", json.dumps({"a": "\0"}).encode()])
def test_json_of_another_shape_is_refused(checkpoint, content):
    folder, restore = checkpoint
    for path in sorted((folder / "record").rglob("*")):
        if path.is_file():
            path.write_bytes(content)
    with pytest.raises(ResumeError, match=r"checkpoint"):
        restore()
