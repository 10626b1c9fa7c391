import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from vigor_jax.parallel import mesh as meshes
from vigor_jax.tasks.task import LossOutput
from vigor_jax.train import state as states
from vigor_jax.train import step as steps


def on(mesh, batch):
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))


def one_step(task, devices, optimizer, batch=0):
    mesh = meshes.data_mesh(jax.devices()[:devices])
    state = states.create(task, optimizer, 7, mesh)
    before = jax.device_get(state)
    step = steps.make(task, optimizer, lambda step: 0.5 + step, 7, mesh)
    return before, step(state, on(mesh, task.batch(batch)))


@pytest.fixture(scope="module")
def loss_and_gradient_by_loops(toy_task, by_loops):
    """Of the first batch, at the seed of `one_step`."""
    task = toy_task()
    params = jax.device_get(states.create(task, optax.sgd(1.0), 7, meshes.data_mesh(jax.devices()[:1]))).params
    noise = np.asarray(jax.random.normal(states.step_key(7, jnp.int32(0)), (4,)), np.float64)
    return by_loops(params, task.batch(0), noise)


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_loss_and_gradient_equal_loops_over_triplets(toy_task, loss_and_gradient_by_loops, devices):
    """Plain descent by 1 shows the gradient itself; Adam would hide a wrong scale."""
    loss, gradient = loss_and_gradient_by_loops
    task = toy_task()
    before, (state, metrics, _, _) = one_step(task, devices, optax.sgd(1.0))
    taken = jax.tree.map(lambda old, new: old - np.asarray(new), before.params, state.params)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6, rtol=1e-5), taken, gradient)
    np.testing.assert_allclose(
        metrics["grad_norm"], np.sqrt(sum((leaf**2).sum() for leaf in gradient.values())), rtol=1e-5
    )


def test_metrics_and_counters(toy_task):
    before, (state, metrics, broken, _) = one_step(toy_task(), 2, optax.adam(1e-3))
    assert set(metrics) == {"loss", "grad_norm", "learning_rate", "positive_similarity"}
    assert metrics["learning_rate"] == 0.5
    assert all(value.dtype == jnp.float32 and value.shape == () for value in metrics.values())
    assert (int(before.step), int(state.step), int(broken)) == (0, 1, -1)
    assert float(state.model_state["statistics"]["batches"]) == 1


def test_state_is_donated_and_replicated_and_the_batch_kept(toy_task):
    task, optimizer = toy_task(), optax.adam(1e-3)
    mesh = meshes.data_mesh(jax.devices()[:2])
    state, batch = states.create(task, optimizer, 0, mesh), on(mesh, task.batch(0))
    step = steps.make(task, optimizer, lambda step: 1.0, 0, mesh)
    after, _, broken, _ = step(state, batch)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert not any(leaf.is_deleted() for leaf in batch.values())
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(after))
    step(after, batch)
    assert int(broken) == -1  # readable after the state it came with is gone


def test_a_step_moves_nothing_between_host_and_devices(toy_task):
    task, optimizer = toy_task(), optax.adam(1e-3)
    mesh = meshes.data_mesh(jax.devices()[:2])
    state, batch = states.create(task, optimizer, 0, mesh), on(mesh, task.batch(0))
    step = steps.make(task, optimizer, lambda step: 1.0, 0, mesh)
    with jax.transfer_guard("disallow"):
        for _ in range(2):
            state, *results = step(state, batch)
        with pytest.raises(jax.errors.JaxRuntimeError, match="transfer"):
            step(state, task.batch(0))  # what is not on the devices would have to be moved
    assert np.isfinite(results[0]["loss"])


def test_first_nonfinite_step_is_remembered(toy_task):
    task, optimizer = toy_task(nonfinite_batch=1), optax.adam(1e-3)
    mesh = meshes.data_mesh(jax.devices()[:2])
    state = states.create(task, optimizer, 0, mesh)
    step = steps.make(task, optimizer, lambda step: 1.0, 0, mesh)
    seen = []
    for t in range(4):
        state, _, broken, _ = step(state, on(mesh, task.batch(t)))
        seen.append(int(broken))
    assert seen == [-1, 2, 2, 2]


def test_nonfinite_model_state_counts(toy_task):
    class Overflowing(toy_task):
        def loss(self, variables, batch, key, *, carry, axis_name):
            loss, output = super().loss(variables, batch, key, carry=carry, axis_name=axis_name)
            output.model_state["statistics"]["mean"] += jnp.inf
            return loss, output

    _, (_, metrics, broken, _) = one_step(Overflowing(), 2, optax.sgd(1.0))
    assert np.isfinite(metrics["loss"])
    assert int(broken) == 1


def test_what_no_step_changes_is_handed_on_and_not_looked_through(toy_task):
    class Frozen(toy_task):
        def init(self, key):
            frozen = {name: jnp.full((3,), jnp.inf) for name in "abcdefgh"}
            return super().init(key) | {"frozen": frozen}

    def checks(task):
        mesh, optimizer = meshes.data_mesh(jax.devices()[:2]), optax.sgd(1.0)
        step = steps.make(task, optimizer, lambda step: 0.5, 7, mesh)
        return (
            step.lower(states.abstract(task, optimizer, 7, mesh), on(mesh, task.batch(0))).as_text().count("is_finite")
        )

    # As a teacher of millions of parameters would be.
    _, (state, _, broken, _) = one_step(Frozen(), 2, optax.sgd(1.0))
    assert np.isinf(state.model_state["frozen"]["a"]).all()
    assert int(broken) == -1
    assert checks(Frozen()) == checks(toy_task()) == 4  # of the loss, the norm of the gradient and two statistics


def test_a_loss_of_one_device_only_is_refused(toy_task):
    class Local(toy_task):
        def loss(self, variables, batch, key, *, carry, axis_name):
            return jnp.mean(batch["ground"] @ variables["params"]["ground"]), LossOutput({}, {})

    with pytest.raises(ValueError, match="out_specs"):
        one_step(Local(), 2, optax.sgd(1.0))


def test_state_is_the_same_on_any_number_of_devices(toy_task):
    def made(devices):
        mesh = meshes.data_mesh(jax.devices()[:devices])
        return jax.device_get(states.create(toy_task(), optax.adam(1e-3), 3, mesh))

    jax.tree.map(np.testing.assert_array_equal, made(1), made(8))


def test_keys_of_steps_and_seeds_differ():
    keys = [states.step_key(seed, jnp.int32(t)) for seed in (0, 1) for t in range(3)]
    data = {tuple(np.asarray(jax.random.key_data(key)).tolist()) for key in keys}
    assert len(data) == 6


def test_gradients_are_summed_over_the_devices_in_float32_whatever_computes_them(toy_task):
    class InBfloat16(toy_task):
        def loss(self, variables, batch, key, **others):
            params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables["params"])
            return super().loss({**variables, "params": params}, batch, key, **others)

    mesh, optimizer = meshes.data_mesh(jax.devices()[:4]), optax.sgd(1.0)
    task = InBfloat16()
    step = steps.make(task, optimizer, lambda step: 0.5, 7, mesh)
    lowered = step.lower(states.abstract(task, optimizer, 7, mesh), on(mesh, task.batch(0))).as_text()
    summed = re.findall(r'"stablehlo.all_reduce".*?\}\) : \((.*?)\)', lowered, re.DOTALL)
    assert "bf16" in lowered
    assert summed
    assert not any("bf16" in array for array in summed)


@pytest.fixture(scope="module")
def normalised(toy_task):
    """Mean squared error of a layer with batch normalisation over the whole batch, as backbones have it."""
    norm = nn.BatchNorm(use_running_average=False, momentum=0.9, axis_name=meshes.AXIS)
    network = nn.Sequential([nn.Dense(5), norm, nn.relu, nn.Dense(1)])

    class Normalised(toy_task):
        def init(self, key):
            return network.init(key, jnp.zeros((2, 3)))

        def batch(self, step):
            random = np.random.default_rng(step)
            rows = random.normal(size=(8, 3)) * np.arange(1, 9)[:, None]  # each device's rows have another spread
            return {"input": rows.astype(np.float32), "target": random.normal(size=(8, 1)).astype(np.float32)}

        def loss(self, variables, batch, key, *, carry, axis_name):
            predicted, updated = network.apply(variables, batch["input"], mutable=["batch_stats"])
            loss = jax.lax.pmean(jnp.mean((predicted - batch["target"]) ** 2), axis_name)
            return loss, LossOutput(dict(updated), {})

    return Normalised()


def normalised_by_hand(params, batch):
    """Loss, running mean and running variance after one step; in float64, of the whole batch at once."""
    dense, norm, last = (jax.tree.map(np.float64, params[name]) for name in ("layers_0", "layers_1", "layers_3"))
    hidden = batch["input"].astype(np.float64) @ dense["kernel"] + dense["bias"]
    mean, variance = hidden.mean(axis=0), hidden.var(axis=0)
    hidden = np.maximum((hidden - mean) / np.sqrt(variance + 1e-5) * norm["scale"] + norm["bias"], 0)
    loss = np.mean((hidden @ last["kernel"] + last["bias"] - batch["target"]) ** 2)
    return loss, 0.1 * mean, 0.9 + 0.1 * variance


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_batch_normalisation_is_of_the_global_batch(normalised, devices):
    before, (state, metrics, _, _) = one_step(normalised, devices, optax.sgd(1.0))
    batch = normalised.batch(0)
    loss, mean, variance = normalised_by_hand(before.params, batch)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    statistics = state.model_state["batch_stats"]["layers_1"]
    np.testing.assert_allclose(statistics["mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(statistics["var"], variance, rtol=1e-5)
    # The gradient too, through the statistics of other devices' rows: by central differences.
    taken = jax.tree.map(lambda old, new: old - np.asarray(new), before.params, state.params)
    for layer, name in (("layers_0", "kernel"), ("layers_1", "scale"), ("layers_3", "bias")):
        for index in np.ndindex(before.params[layer][name].shape):
            losses = []
            for change in (1e-5, -1e-5):
                moved = jax.tree.map(lambda leaf: np.array(leaf, np.float64), before.params)
                moved[layer][name][index] += change
                losses.append(normalised_by_hand(moved, batch)[0])
            slope = (losses[0] - losses[1]) / 2e-5
            np.testing.assert_allclose(taken[layer][name][index], slope, rtol=1e-3, atol=2e-5)
