"""Parameters whose rows the devices share: the training of whole ones, on any number of devices."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tests.train.conftest import ToyTask
from vigor_jax import config as configs
from vigor_jax import tasks
from vigor_jax.config import OptimizerConfig
from vigor_jax.parallel import mesh as meshes
from vigor_jax.tasks.task import LossOutput
from vigor_jax.train import loop
from vigor_jax.train import optimizer as optimizers
from vigor_jax.train import state as states
from vigor_jax.train import step as steps
from vigor_jax.train.checkpoint import Checkpoints, ResumeError
from vigor_jax.workdir import finished_run, seal, summary

STEPS = 4
OPTIMIZERS = {
    "adam": OptimizerConfig(learning_rate=1e-2),
    "adamw": OptimizerConfig(learning_rate=1e-2, weight_decay=0.1),
    "sgd": OptimizerConfig(name="sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.1),
    "rmsprop": OptimizerConfig(name="rmsprop", learning_rate=0.1, momentum=0.9, weight_decay=0.1),
}


class SharedClasses(ToyTask):
    """A linear tower [6, 4] and a softmax over `classes`, whose weights and biases the devices share."""

    def __init__(self, classes=11):
        super().__init__()
        self.classes = classes
        self.param_specs = {"tower": PartitionSpec(), "head": PartitionSpec("data")}

    def init(self, key):
        tower, kernel, bias = jax.random.split(key, 3)
        head = {
            "kernel": jax.random.normal(kernel, (self.classes, 4)),
            "bias": jax.random.normal(bias, (self.classes,)),
        }
        params = {"tower": {"kernel": jax.random.normal(tower, (6, 4))}, "head": head}
        return {"params": params, "statistics": {"batches": jnp.zeros(())}}

    def batch(self, step):
        random = np.random.default_rng(step)
        images = random.integers(256, size=(8, 6), dtype=np.uint8)
        return {"image": images, "label": random.integers(self.classes, size=8).astype(np.int32)}

    def loss(self, variables, batch, key, *, carry, axis_name):
        params = variables["params"]
        embeddings = (batch["image"] / 255.0 - 0.5) @ params["tower"]["kernel"]
        embeddings = jax.lax.all_gather(embeddings, axis_name, tiled=True)
        labels = jax.lax.all_gather(batch["label"], axis_name, tiled=True)
        # Scores of every example for this device's classes, of which the last may be padding.
        block = params["head"]
        mine = jax.lax.axis_index(axis_name) * len(block["bias"]) + jnp.arange(len(block["bias"]))
        logits = jnp.where(mine < self.classes, embeddings @ block["kernel"].T + block["bias"], -jnp.inf)
        highest = jax.lax.pmax(jax.lax.stop_gradient(logits).max(1), axis_name)
        total = jax.lax.psum(jnp.exp(logits - highest[:, None]).sum(1), axis_name)
        of_label = jax.lax.psum(jnp.where(mine == labels[:, None], logits, 0.0).sum(1), axis_name)
        loss = jnp.mean(jnp.log(total) + highest - of_label)
        return loss, LossOutput({"statistics": {"batches": variables["statistics"]["batches"] + 1}}, {})


def plain_loss(params, batch):
    """The same of whole arrays on one device."""
    logits = (batch["image"] / 255.0 - 0.5) @ params["tower"]["kernel"] @ params["head"]["kernel"].T
    scores = jax.nn.log_softmax(logits + params["head"]["bias"])
    return -jnp.mean(scores[jnp.arange(8), batch["label"]])


def mesh_of(devices):
    return meshes.data_mesh(jax.devices()[:devices])


def trained(task, optimizer, devices, state=None, first=0, number=STEPS):
    """(State, [metrics of each step])."""
    mesh = mesh_of(devices)
    state = states.create(task, optimizer, 0, mesh) if state is None else state
    step = steps.make(task, optimizer, lambda step: 0.0, 0, mesh)
    logged = []
    for t in range(first, first + number):
        state, metrics, _, _ = step(state, jax.device_put(task.batch(t), NamedSharding(mesh, PartitionSpec("data"))))
        logged.append(jax.device_get(metrics))
    return state, logged


def trained_plainly(task, optimizer):
    """(Parameters, [(loss, gradient) of each step]) of whole arrays on one device."""
    params = task.init(jax.random.fold_in(jax.random.key(0), 0))["params"]
    opt_state, seen = optimizer.init(params), []
    for t in range(STEPS):
        loss, gradient = jax.value_and_grad(plain_loss)(params, task.batch(t))
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
        seen.append((loss, gradient))
    return jax.device_get((params, seen))


def cut(tree, classes):
    """Without padding, of whose rows all are 0."""

    def rows(path, leaf):
        if "head" not in jax.tree_util.keystr(path):
            return np.asarray(leaf)
        np.testing.assert_array_equal(leaf[classes:], 0)
        return np.asarray(leaf[:classes])

    return jax.tree_util.tree_map_with_path(rows, tree)


def assert_same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def plainly():
    """`(classes, optimizer's name)` -> what `trained_plainly` returns, computed once."""
    found = {}

    def train(classes, name):
        if (classes, name) not in found:
            found[classes, name] = trained_plainly(SharedClasses(classes), optimizers.create(OPTIMIZERS[name]))
        return found[classes, name]

    return train


@pytest.mark.parametrize(("classes", "devices"), [(16, 8), (11, 1), (11, 2), (11, 4), (11, 8)])
def test_loss_gradient_and_norm_are_those_of_whole_parameters(classes, devices):
    """Plain descent by 1 shows the gradient itself; Adam would hide a wrong scale."""
    task, optimizer = SharedClasses(classes), optax.sgd(1.0)
    before = cut(states.create(task, optimizer, 0, mesh_of(devices)).params, classes)
    loss, gradient = jax.value_and_grad(plain_loss)(before, task.batch(0))
    state, (metrics,) = trained(task, optimizer, devices, number=1)
    taken = jax.tree.map(lambda old, new: old - new, before, cut(state.params, classes))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-5), taken, gradient)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-6)
    np.testing.assert_allclose(metrics["grad_norm"], optax.tree.norm(gradient), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "devices"), [("adam", 1), ("adam", 2), ("adam", 4), ("adam", 8), ("adamw", 8), ("sgd", 8), ("rmsprop", 8)]
)
def test_steps_of_an_optimiser_are_those_of_whole_parameters(plainly, name, devices):
    """And padding stays 0, also where a moment begins at 1, as RMSprop's does."""
    params, seen = plainly(11, name)
    state, logged = trained(SharedClasses(11), optimizers.create(OPTIMIZERS[name]), devices)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), cut(state.params, 11), params)
    cut(state.opt_state, 11)
    for metrics, (loss, gradient) in zip(logged, seen, strict=True):
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-4)
        np.testing.assert_allclose(metrics["grad_norm"], optax.tree.norm(gradient), rtol=1e-4)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_each_device_has_its_rows_alone_and_of_the_moments_as_well(name):
    state, _ = trained(SharedClasses(11), optimizers.create(OPTIMIZERS[name]), 8, number=1)
    leaves = jax.tree_util.tree_leaves_with_path((state.params, state.opt_state))
    kept = {
        jax.tree_util.keystr(path): [shard.data.shape for shard in leaf.addressable_shards] for path, leaf in leaves
    }
    shared = {path: shapes for path, shapes in kept.items() if "head" in path}
    assert len(shared) == {"adam": 2 * 3, "sgd": 2 * 2}[name]
    assert all(shapes == [(2, 4) if "kernel" in path else (2,)] * 8 for path, shapes in shared.items())
    assert all(leaf.is_fully_replicated for path, leaf in leaves if "head" not in jax.tree_util.keystr(path))


def test_the_first_state_is_the_same_on_any_number_of_devices_and_has_the_layout_that_is_restored_into():
    optimizer = optimizers.create(OPTIMIZERS["rmsprop"])
    one, eight = (states.create(SharedClasses(11), optimizer, 3, mesh_of(devices)) for devices in (1, 8))
    assert_same_bits(cut(one, 11), cut(eight, 11))
    into = states.abstract(SharedClasses(11), optimizer, 3, mesh_of(8))
    assert jax.tree.structure(into) == jax.tree.structure(eight)
    for described, leaf in zip(jax.tree.leaves(into), jax.tree.leaves(eight), strict=True):
        assert (described.shape, described.dtype) == (leaf.shape, leaf.dtype)
        assert described.sharding.is_equivalent_to(leaf.sharding, leaf.ndim)


def test_other_axes_than_rows_are_refused():
    task = SharedClasses()
    task.param_specs = {"tower": PartitionSpec(None, "data"), "head": PartitionSpec("data")}
    with pytest.raises(ValueError, match=r"param_specs has .*None, 'data'"):
        states.specs(task, optax.sgd(1.0))


def opened(folder, task, optimizer):
    unpadded_rows = states.unpadded_rows(task, optimizer)
    return Checkpoints(folder, newest=9, selection_metric="validation/top1", unpadded_rows=unpadded_rows)


@pytest.mark.parametrize(("classes", "name"), [(16, "adam"), (11, "rmsprop")])
def test_a_checkpoint_is_restored_on_other_numbers_of_devices_bit_for_bit(classes, name, tmp_path):
    task, optimizer = SharedClasses(classes), optimizers.create(OPTIMIZERS[name])
    state, _ = trained(task, optimizer, 8, number=2)
    expected, seals = cut(state, classes), []
    with opened(tmp_path / "checkpoints", task, optimizer) as checkpoints:
        for step, devices in enumerate([2, 1, 4, 8]):
            checkpoints.save(step, state, {}, None)
            checkpoints.wait()
            state = checkpoints.restore(step, states.abstract(task, optimizer, 0, mesh_of(devices)))
            assert_same_bits(cut(state, classes), expected)
            assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(state)} == {devices}
            assert state.params["head"]["kernel"].addressable_shards[0].data.shape == (-(-classes // devices), 4)
            seals.append(seal.read(checkpoints.path(step)))
    assert seals[0].shapes["params/head/kernel"] == f"float32 [{classes}, 4]"
    assert all(each == seals[0] for each in seals)
    # And goes on there.
    again, _ = trained(task, optimizer, 8, state, first=2, number=1)
    whole, _ = trained(task, optimizer, 8, number=3)
    assert_same_bits(jax.device_get(again), jax.device_get(whole))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(Task, optimiser, state, folder of its checkpoints) of eleven classes on eight devices."""
    task, optimizer = SharedClasses(11), optimizers.create(OPTIMIZERS["adam"])
    folder = tmp_path_factory.mktemp("shared") / "checkpoints"
    state, _ = trained(task, optimizer, 8, number=2)
    with opened(folder, task, optimizer) as checkpoints:
        checkpoints.save(2, state, {}, None)
    return task, optimizer, state, folder


@pytest.mark.parametrize("devices", [1, 2, 8])
@pytest.mark.parametrize("row", [10, 13], ids=["a class", "padding"])
def test_a_flipped_bit_of_a_shared_parameter_is_noticed(saved, row, devices, tmp_path):
    task, optimizer, state, folder = saved
    kernel = np.asarray(state.params["head"]["kernel"]).copy()
    kernel.view(np.uint32)[row, 2] ^= 1 << 7
    head = state.params["head"] | {"kernel": jax.device_put(kernel, state.params["head"]["kernel"].sharding)}
    with opened(tmp_path / "checkpoints", task, optimizer) as checkpoints:
        checkpoints.save(2, state.replace(params=state.params | {"head": head}), {}, None)
    shutil.rmtree(tmp_path / "checkpoints" / "2" / "record")
    shutil.copytree(folder / "2" / "record", tmp_path / "checkpoints" / "2" / "record")
    into = states.abstract(task, optimizer, 0, mesh_of(devices))
    with opened(tmp_path / "checkpoints", task, optimizer) as checkpoints:
        if row < 11 or devices == 8:
            with pytest.raises(ResumeError, match="other bits were read than were written in params/head/kernel"):
                checkpoints.restore(2, into)
        else:  # it is not read
            assert_same_bits(cut(checkpoints.restore(2, into), 11), cut(state, 11))


def test_another_number_of_classes_is_refused_though_as_many_rows_lie_on_the_devices(saved):
    _, optimizer, _, folder = saved
    task = SharedClasses(12)
    with opened(folder, task, optimizer) as checkpoints, pytest.raises(ResumeError) as error:
        checkpoints.restore(2, states.abstract(task, optimizer, 0, mesh_of(8)))
    assert "params/head/kernel: float32 [11, 4] in the checkpoint, float32 [12, 4] in this model" in str(error.value)


def test_a_finished_run_has_the_rows_that_there_are(saved, tmp_path):
    task, optimizer, state, _ = saved
    config = {
        "name": "shared",
        "task": "cross_view",
        "epochs": 1,
        "data": {"name": "vigor", "train_cities": ("Seattle",), "protocols": ("same_area",)},
        "model": {"aggregation": "safa"},
        "batch": {"size": 8},
    }
    digests = set()
    for devices in (8, 2):
        workdir = tmp_path / str(devices)
        with opened(workdir / "checkpoints", task, optimizer) as checkpoints:
            checkpoints.save(2, state, {}, None)
            checkpoints.wait()
            state = checkpoints.restore(2, states.abstract(task, optimizer, 0, mesh_of(2)))
        ended = {"config": configs.to_dict(tasks.parse(config)), "steps": 2}
        summary.write(workdir, ended | {"metrics": {}, "throughput": {}, "versions": {}})
        run = finished_run.read(workdir, tasks.parse_stored)
        assert run.variables["params"]["head"]["kernel"].shape == (11, 4)
        assert_same_bits(run.variables["params"], cut(state.params, 11))
        digests.add(finished_run.digest(run.variables))
    assert len(digests) == 1


def test_a_run_is_stopped_on_eight_devices_and_ends_on_two(toy_config, register_toy, tmp_path, monkeypatch):
    register_toy(SharedClasses())
    loop.train_and_evaluate(toy_config(), tmp_path / "unbroken")
    loop.train_and_evaluate(toy_config(epochs=1), tmp_path / "parted")
    monkeypatch.setattr(loop, "data_mesh", lambda: mesh_of(2))
    ended = loop.train_and_evaluate(toy_config(), tmp_path / "parted")
    assert ended["throughput"]["devices"] == 2
    by_step = [
        {row["step"]: row["train/loss"] for row in rows if "train/loss" in row}
        for rows in (
            [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
            for name in ("unbroken", "parted")
        )
    ]
    assert list(by_step[0]) == list(by_step[1])
    np.testing.assert_allclose(list(by_step[0].values()), list(by_step[1].values()), rtol=1e-5)


_HOST = """
import sys
import jax
import jax.numpy as jnp

jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from pathlib import Path

from tests.train.test_sharded_params import OPTIMIZERS, SharedClasses, opened, optimizers, trained_by_hosts

trained_by_hosts(Path({folder!r}))
print("saved")
"""


def trained_by_hosts(folder):
    """Two steps on all devices of two hosts, and a checkpoint of them."""
    task, optimizer, mesh = SharedClasses(11), optimizers.create(OPTIMIZERS["adam"]), meshes.data_mesh()
    rows = NamedSharding(mesh, PartitionSpec("data"))
    state, step = states.create(task, optimizer, 0, mesh), steps.make(task, optimizer, lambda step: 0.0, 0, mesh)
    for t in range(2):
        batch = task.batch(t).items()
        everywhere = lambda array: jax.make_array_from_callback(array.shape, rows, lambda index: array[index])  # noqa: E731
        state, *_ = step(state, {name: everywhere(array) for name, array in batch})
    with opened(folder, task, optimizer) as checkpoints:
        checkpoints.save(2, state, {}, None)


def test_two_hosts_with_two_devices_each_save_what_one_restores(saved, two_hosts, tmp_path):
    task, optimizer, state, _ = saved
    folder = tmp_path / "checkpoints"
    for output in two_hosts(_HOST.format(folder=str(folder)), 2):
        assert "saved" in output
    with opened(folder, task, optimizer) as checkpoints:
        restored = checkpoints.restore(2, states.abstract(task, optimizer, 0, mesh_of(8)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), cut(restored, 11), cut(state, 11))
