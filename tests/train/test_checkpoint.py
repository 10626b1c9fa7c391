from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from vigor_jax.config import OptimizerConfig
from vigor_jax.train import mesh as meshes
from vigor_jax.train import optimizer as optimizers
from vigor_jax.train import state as states
from vigor_jax.train.checkpoint import Checkpoints, ResumeError

OPTIMIZER = optimizers.create(OptimizerConfig())


def opened(directory, newest=3):
    return Checkpoints(directory, newest=newest, selection_metric="validation/top1")


def made(task, seed=0, devices=8):
    return states.create(task, OPTIMIZER, seed, meshes.data_mesh(jax.devices()[:devices]))


def layout(task, devices):
    return states.abstract(task, OPTIMIZER, 0, meshes.data_mesh(jax.devices()[:devices]))


def test_restores_on_other_numbers_of_devices(toy_task, tmp_path):
    task = toy_task()
    state = made(task, devices=8)
    expected = jax.device_get(state)
    for step, devices in enumerate([4, 1, 2]):
        with opened(tmp_path) as checkpoints:
            checkpoints.save(step, state, {"devices": devices}, None)
        with opened(tmp_path) as checkpoints:
            state = checkpoints.restore(step, layout(task, devices))
            assert checkpoints.record(step) == {"devices": devices}
        assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(state)} == {devices}
        assert isinstance(state, states.TrainState)
        jax.tree.map(np.testing.assert_array_equal, expected, jax.device_get(state))


@pytest.fixture
def carrying(toy_task):
    """A toy whose steps hand on five numbered rows, padded to a multiple of the devices, and a counter."""

    class Carrying(toy_task):
        carry_specs: ClassVar = {"rows": PartitionSpec("data"), "count": PartitionSpec()}

        def init_carry(self, devices):
            rows = jnp.pad(1.0 + jnp.arange(5.0), (0, -5 % devices))
            return {"rows": jnp.tile(rows[:, None], (1, 3)), "count": jnp.int32(5)}

    return Carrying()


def test_the_rows_of_a_carry_are_restored_on_other_numbers_of_devices(carrying, tmp_path):
    state = made(carrying, devices=8)
    for step, devices in enumerate([3, 1, 4, 8]):
        with opened(tmp_path) as checkpoints:
            checkpoints.save(step, state, {}, None)
            checkpoints.wait()
            state = checkpoints.restore(step, layout(carrying, devices))
        carry = state.carry
        assert carry["rows"].shape == (5 + -5 % devices, 3)
        assert [shard.data.shape[0] for shard in carry["rows"].addressable_shards] == [-(-5 // devices)] * devices
        np.testing.assert_array_equal(carry["rows"][:5, 1], [1, 2, 3, 4, 5])
        np.testing.assert_array_equal(carry["rows"][5:], 0)
        assert int(carry["count"]) == 5


def test_a_plan_is_stored_beside_the_state(toy_task, tmp_path):
    task = toy_task()
    plan = {"table": np.arange(12, dtype=np.int32).reshape(4, 3), "recorded": np.int64(7)}
    expected = {name: np.array(value) for name, value in plan.items()}
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, made(task, devices=1), {}, None, plan=plan)
        plan["table"] += 1  # while it is being written
        checkpoints.wait()
        restored = checkpoints.plan(1, {name: np.zeros_like(value) for name, value in plan.items()})
        assert checkpoints.plan(1, {}) == {}
    assert restored.keys() == expected.keys()
    for name, value in restored.items():
        np.testing.assert_array_equal(value, expected[name])
        assert value.dtype == expected[name].dtype


def test_saved_state_may_be_overwritten_at_once(toy_task, tmp_path):
    """The step donates the state right after the save returned, while it is still being written."""
    task = toy_task(width=50_000)
    state = made(task, devices=2)
    expected = jax.device_get(state)
    overwrite = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0 - 7, tree), donate_argnums=0)
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, state, {}, None)
        jax.block_until_ready(overwrite(state))
        checkpoints.wait()
        jax.tree.map(np.testing.assert_array_equal, expected, jax.device_get(checkpoints.restore(1, layout(task, 2))))


def test_keeps_the_newest_and_the_best(toy_task, tmp_path):
    state = made(toy_task(), devices=1)
    scores = [None, 0.9, 0.2, None, 0.4, None]
    with opened(tmp_path, newest=2) as checkpoints:
        assert (checkpoints.latest(), checkpoints.best()) == (None, None)
        for step, score in enumerate(scores):
            checkpoints.save(step, state, {}, None if score is None else {"validation/top1": score, "other": 1.0})
    with opened(tmp_path, newest=2) as checkpoints:
        assert sorted(int(folder.name) for folder in tmp_path.iterdir()) == [1, 4, 5]
        assert (checkpoints.latest(), checkpoints.best()) == (5, 1)
        assert checkpoints.metrics(1) == {"validation/top1": 0.9, "other": 1.0}
        assert checkpoints.metrics(5) is None


def test_a_half_written_checkpoint_is_not_picked_up(toy_task, tmp_path):
    task = toy_task()
    with opened(tmp_path) as checkpoints:
        checkpoints.save(3, made(task, devices=1), {}, None)
    unfinished = tmp_path / "6.orbax-checkpoint-tmp"
    unfinished.mkdir()
    (unfinished / "state").mkdir()
    with opened(tmp_path) as checkpoints:
        assert checkpoints.latest() == 3
        checkpoints.save(6, made(task, devices=1), {}, None)
    with opened(tmp_path) as checkpoints:
        assert checkpoints.latest() == 6
        checkpoints.restore(6, layout(task, 1))
    assert not unfinished.exists()


def test_a_damaged_checkpoint_is_named(toy_task, tmp_path):
    task = toy_task()
    with opened(tmp_path) as checkpoints:
        checkpoints.save(3, made(task, devices=1), {}, None)
    for file in (tmp_path / "3" / "state").rglob("d/*"):
        file.write_bytes(file.read_bytes()[:10])
    with opened(tmp_path) as checkpoints, pytest.raises(ResumeError) as error:
        checkpoints.restore(3, layout(task, 1))
    assert str(tmp_path / "3") in str(error.value)
    assert "one before" in str(error.value)


def test_missing_and_additional_parameters_are_listed(toy_task, tmp_path):
    class Other(toy_task):
        def init(self, key):
            variables = super().init(key)
            variables["params"]["head"] = variables["params"].pop("aerial")
            return variables

    with opened(tmp_path) as checkpoints:
        checkpoints.save(3, made(toy_task(), devices=1), {}, None)
    with opened(tmp_path) as checkpoints, pytest.raises(ResumeError) as error:
        checkpoints.restore(3, layout(Other(), 1))
    assert "params/aerial: float32 [5, 4] in the checkpoint, missing in this model" in str(error.value)
    assert "params/head: missing in the checkpoint, float32 [5, 4] in this model" in str(error.value)
