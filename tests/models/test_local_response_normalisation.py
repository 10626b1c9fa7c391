"""Local response normalisation against the sum of the paper written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax.models.local_response_normalisation import local_response_normalisation


@pytest.mark.parametrize(("channels", "size"), [(9, 5), (3, 5), (4, 1)])
def test_every_channel_by_itself(channels, size):
    features = np.random.default_rng(0).normal(size=(2, 3, 2, channels)).astype(np.float32) * 100
    expected = np.empty(features.shape, np.float64)
    for i in range(channels):
        first, last = max(0, i - size // 2), min(channels - 1, i + size // 2)
        total = sum(features[..., j].astype(np.float64) ** 2 for j in range(first, last + 1))
        expected[..., i] = features[..., i] / (2 + 1e-4 * total) ** 0.75
    np.testing.assert_allclose(local_response_normalisation(features, size), expected, rtol=1e-5)


def test_bfloat16_is_computed_in_float32():
    features = jnp.asarray(np.random.default_rng(0).normal(size=(5, 8)) * 100, jnp.bfloat16)
    normalised = local_response_normalisation(features)
    assert normalised.dtype == jnp.bfloat16
    exact = local_response_normalisation(features.astype(jnp.float32))
    np.testing.assert_array_equal(normalised, exact.astype(jnp.bfloat16))


def test_gradient_is_finite_at_zero():
    gradient = jax.grad(lambda x: local_response_normalisation(x).sum())(jnp.zeros((1, 6)))
    np.testing.assert_allclose(gradient, 2**-0.75, rtol=1e-6)


def test_a_window_without_a_middle():
    with pytest.raises(ValueError, match="window of 4 channels"):
        local_response_normalisation(np.ones((1, 6), np.float32), size=4)
