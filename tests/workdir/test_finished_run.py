"""A finished run is read from its workdir alone, whole or not at all."""

import json
import shutil

import jax
import numpy as np
import pytest

from vigor_jax import config as configs
from vigor_jax import tasks
from vigor_jax.config import ConfigError
from vigor_jax.parallel import mesh as meshes
from vigor_jax.train import state as states
from vigor_jax.train.checkpoint import Checkpoints
from vigor_jax.workdir import finished_run, seal, summary
from vigor_jax.workdir.errors import DamagedCheckpoint, NoFinishedRun, RunFileError

CONFIG = {
    "name": "taught",
    "task": "cross_view",
    "epochs": 1,
    "data": {"name": "vigor", "train_cities": ("Seattle",), "protocols": ("same_area",)},
    "model": {"aggregation": "safa"},
    "batch": {"size": 8},
}


def state_of(step):
    """Of no task: what a checkpoint has beside the variables is here to be left unread."""
    rng = np.random.default_rng(step)
    kernel = rng.standard_normal((3, 4)).astype(np.float32)
    state = states.TrainState(
        step=np.int32(step),
        params={"tower": {"kernel": kernel}},
        model_state={"batch_stats": {"mean": kernel[0] + 1, "count": kernel[0, 0]}},
        opt_state={"tower": {"kernel": kernel * 2}},
        first_nonfinite_step=np.int32(-1),
        carry={"rows": np.zeros((2, 3), np.float32)},
    )
    return jax.device_put(state, meshes.replicated(meshes.data_mesh(jax.devices()[:2])))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workdir with the checkpoints of steps 2 and 10, and the state of the latter."""
    workdir = tmp_path_factory.mktemp("runs") / "taught"
    with Checkpoints(workdir / "checkpoints", newest=2, selection_metric="validation/top1") as checkpoints:
        for step in (2, 10):
            state = state_of(step)
            checkpoints.save(step, state, {"config": {}}, None)
    ended = {"config": configs.to_dict(tasks.parse(CONFIG)), "steps": 10}
    summary.write(workdir, ended | {"metrics": {}, "throughput": {}, "versions": {}})
    return workdir, state


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "copy")


def test_config_and_variables_are_those_of_the_last_checkpoint(finished):
    workdir, state = finished
    run = finished_run.read(workdir, tasks.parse_stored)
    assert run.config == tasks.parse(CONFIG)
    assert run.step == 10
    jax.tree.map(np.testing.assert_array_equal, run.variables, state.variables)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(run.variables))
    assert set(run.variables) == {"params", "batch_stats"}


def test_any_checkpoint_that_was_kept_can_be_named(copy):
    summary = json.loads((copy / "summary.json").read_text())
    (copy / "summary.json").write_text(json.dumps(summary | {"best": {"step": 2, "metrics": {}}}))
    for checkpoint, step in (("last", 10), ("best", 2), ("2", 2), ("10", 10)):
        run = finished_run.read(copy, tasks.parse_stored, checkpoint)
        assert run.step == step
        jax.tree.map(np.testing.assert_array_equal, run.variables, state_of(step).variables)
    with pytest.raises(NoFinishedRun, match=r"no checkpoint '4'. Those of these steps were kept: 2 \(the best\), 10\."):
        finished_run.read(copy, tasks.parse_stored, "4")
    with pytest.raises(NoFinishedRun, match="no checkpoint 'newest'"):
        finished_run.read(copy, tasks.parse_stored, "newest")
    (copy / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(NoFinishedRun, match="no checkpoint 'best'"):
        finished_run.read(copy, tasks.parse_stored, "best")


def test_the_digest_is_of_every_bit(finished, copy):
    variables, again = (
        finished_run.read(finished[0], tasks.parse_stored).variables,
        finished_run.read(copy, tasks.parse_stored).variables,
    )
    digest = finished_run.digest(again)
    assert finished_run.digest(variables) == digest
    variables["batch_stats"]["mean"][1] = np.nextafter(variables["batch_stats"]["mean"][1], 9)
    assert finished_run.digest(variables) != digest


def test_what_is_no_finished_run_is_named(copy, tmp_path):
    with pytest.raises(NoFinishedRun, match=r"nowhere holds no run\. Train it first"):
        finished_run.read(tmp_path / "nowhere", tasks.parse_stored)
    whole = (copy / "summary.json").read_text()
    (copy / "summary.json").write_text(whole[:30])
    with pytest.raises(RunFileError, match=r"summary\.json is damaged"):
        finished_run.read(copy, tasks.parse_stored)
    (copy / "summary.json").write_text(whole.replace('"seed"', '"sead"'))
    with pytest.raises(ConfigError, match=r"copy has a config .*Did you mean config\.seed"):
        finished_run.read(copy, tasks.parse_stored)
    (copy / "summary.json").unlink()
    with pytest.raises(NoFinishedRun, match=r"an unfinished run\. The command"):
        finished_run.read(copy, tasks.parse_stored)
    (copy / "summary.json").write_text(whole)
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(NoFinishedRun, match="holds no checkpoint"):
        finished_run.read(copy, tasks.parse_stored)


def test_damage_is_noticed(copy):
    record = copy / "checkpoints/10/record/metadata"
    sealed = json.loads(record.read_text())
    contents = sealed["contents"]
    contents["checksums"]["params/tower/kernel"] = "0" * 16
    record.write_text(json.dumps(seal.to_json(seal.Seal(**contents))))
    with pytest.raises(DamagedCheckpoint, match="other bits in params/tower/kernel"):
        finished_run.read(copy, tasks.parse_stored)
    shutil.rmtree(copy / "checkpoints/10/state/d")
    shutil.rmtree(copy / "checkpoints/10/state/ocdbt.process_0")
    with pytest.raises(DamagedCheckpoint, match="cannot be read"):
        finished_run.read(copy, tasks.parse_stored)
