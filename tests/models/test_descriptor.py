"""Centring and normalising of descriptors."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from vigor_jax.models.descriptor import Centring, unit_norm


def test_unit_norm_and_its_gradient_at_zero():
    rows = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(unit_norm(rows), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: unit_norm(x).sum())(jnp.asarray(rows))).all()


def test_running_mean_is_the_plain_mean_until_the_window_is_full():
    module = Centring(window=3)
    batches = np.random.default_rng(0).normal(loc=2.0, size=(6, 4, 5)).astype(np.float32)
    state = module.init(jax.random.key(0), batches[0], train=True)
    assert not np.asarray(state["batch_stats"]["mean"]).any()  # initialising is not a training step
    expected = np.zeros(5)
    for step, batch in enumerate(batches):
        centred, state = module.apply(state, batch, train=True, mutable=["batch_stats"])
        np.testing.assert_allclose(centred, batch - batch.mean(axis=0), atol=1e-6)
        expected = expected + (batch.mean(axis=0) - expected) / min(step + 1, 3)
        np.testing.assert_allclose(state["batch_stats"]["mean"], expected, rtol=1e-5)
        if step == 2:
            np.testing.assert_allclose(expected, batches[:3].mean(axis=(0, 1)), rtol=1e-5)
    evaluated = module.apply(state, batches[0][:1], train=False)
    np.testing.assert_allclose(evaluated, batches[0][:1] - expected, atol=1e-6)


def test_devices_subtract_the_mean_of_the_global_batch():
    batch = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    module, shared = Centring(), Centring(axis_name="data")
    state = module.init(jax.random.key(0), batch, train=True)
    alone, alone_state = module.apply(state, batch, train=True, mutable=["batch_stats"])
    mesh = jax.make_mesh((4,), ("data",), devices=jax.devices()[:4])
    together, together_state = jax.shard_map(
        lambda rows: shared.apply(state, rows, train=True, mutable=["batch_stats"]),
        mesh=mesh,
        in_specs=P("data"),
        out_specs=(P("data"), P()),
    )(jax.device_put(batch, jax.NamedSharding(mesh, P("data"))))
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(together_state["batch_stats"]["mean"], alone_state["batch_stats"]["mean"], atol=1e-6)
