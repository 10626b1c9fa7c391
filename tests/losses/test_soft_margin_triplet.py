"""Every triplet of the global batch counts once, on any number of devices."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from vigor_jax.losses import soft_margin_triplet


def _unit(seed: int, rows: int, dim: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _explicit(aerial: np.ndarray, ground: np.ndarray, alpha: float) -> float:
    """The definition, triplet by triplet, in float64."""
    aerial, ground = aerial.astype(np.float64), ground.astype(np.float64)
    n, losses = len(aerial), []
    for i in range(n):
        positive = np.sum((aerial[i] - ground[i]) ** 2)
        for j in range(n):
            if j != i:
                for negative in (np.sum((aerial[i] - ground[j]) ** 2), np.sum((ground[i] - aerial[j]) ** 2)):
                    losses.append(math.log1p(math.exp(alpha * (positive - negative))))
    assert len(losses) == 2 * n * (n - 1)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("alpha", [1.0, 10.0])
def test_value_and_gradient_are_those_of_the_definition(alpha):
    aerial, ground = _unit(0, 5, 7), _unit(1, 5, 7)
    np.testing.assert_allclose(soft_margin_triplet(aerial, ground, alpha), _explicit(aerial, ground, alpha), rtol=1e-6)
    gradients = jax.grad(soft_margin_triplet, argnums=(0, 1))(jnp.asarray(aerial), jnp.asarray(ground), alpha)

    # On the sphere only: the loss uses cosines, the definition distances, and they agree for unit vectors alone.
    rng = np.random.default_rng(2)
    for which, gradient in enumerate(gradients):
        pair = [aerial.astype(np.float64), ground.astype(np.float64)]
        direction = rng.normal(size=aerial.shape)
        direction -= np.sum(direction * pair[which], axis=1, keepdims=True) * pair[which]
        step, values = 1e-5, []
        for sign in (1, -1):
            moved = pair[which] + sign * step * direction
            moved /= np.linalg.norm(moved, axis=1, keepdims=True)
            both = list(pair)
            both[which] = moved
            values.append(_explicit(*both, alpha))
        numeric = (values[0] - values[1]) / (2 * step)
        np.testing.assert_allclose(np.sum(np.asarray(gradient) * direction), numeric, rtol=1e-4)


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_devices_together_give_the_value_and_gradient_of_one(devices):
    """Through a shared linear map, because only the gradient of replicated parameters shows a factor too many."""
    x, y = _unit(3, 16, 6), _unit(4, 16, 6)
    kernel = np.random.default_rng(5).normal(size=(6, 9)).astype(np.float32)

    def loss(kernel, x, y, axis_name=None):
        embeddings = [v @ kernel for v in (x, y)]
        aerial, ground = (v / jnp.linalg.norm(v, axis=1, keepdims=True) for v in embeddings)
        return soft_margin_triplet(aerial, ground, 10.0, axis_name)

    value, gradient = jax.value_and_grad(loss)(kernel, x, y)
    np.testing.assert_allclose(
        value, _explicit(*((v @ kernel) / np.linalg.norm(v @ kernel, axis=1)[:, None] for v in (x, y)), 10.0), rtol=1e-5
    )

    mesh = jax.make_mesh((devices,), ("data",), devices=jax.devices()[:devices])
    mapped = jax.shard_map(
        lambda kernel, x, y: tuple(v[None] for v in jax.value_and_grad(lambda k: loss(k, x, y, "data"))(kernel)),
        mesh=mesh,
        in_specs=(P(), P("data"), P("data")),
        out_specs=P(),  # checked: equal on every device
    )
    rows, everywhere = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    mapped_value, mapped_gradient = jax.jit(mapped)(
        jax.device_put(kernel, everywhere), jax.device_put(x, rows), jax.device_put(y, rows)
    )
    np.testing.assert_allclose(mapped_value[0], value, rtol=1e-6)
    np.testing.assert_allclose(mapped_gradient[0], gradient, rtol=1e-4, atol=1e-6 * np.abs(gradient).max())


def test_the_authors_value_and_gradients(vigor_reference):
    aerial, ground = vigor_reference["sat"], vigor_reference["grd"]
    value, gradients = jax.value_and_grad(soft_margin_triplet, argnums=(0, 1))(jnp.asarray(aerial), jnp.asarray(ground))
    diagonal = math.log(2) / (len(aerial) - 1)
    np.testing.assert_allclose(value + diagonal, vigor_reference["out_triplet"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(gradients[0], vigor_reference["out_g_sat"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(gradients[1], vigor_reference["out_g_grd"], atol=1e-5, rtol=0)


def test_equal_embeddings_cost_ln_2_and_extremes_stay_finite():
    same = np.tile(_unit(6, 1, 8), (4, 1))
    np.testing.assert_allclose(soft_margin_triplet(same, same), math.log(2), rtol=1e-5)
    opposite = np.concatenate([same[:1], -same[:1]])
    value, gradient = jax.value_and_grad(soft_margin_triplet)(jnp.asarray(opposite), jnp.asarray(-opposite), 1e3)
    np.testing.assert_allclose(value, 4e3, rtol=1e-5)
    assert np.isfinite(gradient).all()


def test_bfloat16_embeddings_are_scored_in_float32():
    aerial, ground = _unit(7, 6, 8), _unit(8, 6, 8)
    low = soft_margin_triplet(jnp.asarray(aerial, jnp.bfloat16), jnp.asarray(ground, jnp.bfloat16))
    assert low.dtype == jnp.float32


def test_one_pair_has_no_negative():
    with pytest.raises(ValueError, match="of 1 pair"):
        soft_margin_triplet(_unit(0, 1, 4), _unit(1, 1, 4))
