"""The depthwise convolution equals Flax's grouped one, value, gradient and parameter, in the form that CPUs compute."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax.models.depthwise_convolution import DepthwiseConvolution, shifted_sum


def both(stride, size, dtype=jnp.float32):
    reference = nn.Conv(
        4, (size, size), strides=stride, feature_group_count=4, use_bias=False, dtype=dtype, padding="SAME"
    )
    return DepthwiseConvolution(size=size, stride=stride, dtype=dtype), reference


@pytest.mark.parametrize(("stride", "size", "sides"), [(1, 3, (4, 7)), (2, 3, (8, 5)), (2, 3, (1, 2)), (2, 5, (7, 6))])
def test_value_and_gradients_are_those_of_the_grouped_convolution(stride, size, sides):
    ours, reference = both(stride, size)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, *sides, 4)).astype(np.float32)
    variables = ours.init(jax.random.key(0), images)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, reference.init(jax.random.key(0), images))
    shape = ours.apply(variables, images).shape
    weights = rng.standard_normal(shape).astype(np.float32)

    def value(module):
        return lambda variables, images: jnp.sum(module.apply(variables, images) * weights)

    found, expected = (jax.value_and_grad(value(each), argnums=(0, 1))(variables, images) for each in (ours, reference))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)
    np.testing.assert_allclose(ours.apply(variables, images), reference.apply(variables, images), rtol=1e-5, atol=1e-5)


def test_by_loops():
    images = np.arange(2 * 3 * 4 * 2, dtype=np.float32).reshape(2, 3, 4, 2)
    kernel = np.arange(18, dtype=np.float32).reshape(3, 3, 1, 2) - 7
    found = np.asarray(shifted_sum(jnp.asarray(images), jnp.asarray(kernel), 1))
    for b, r, c, k in np.ndindex(found.shape):
        total = 0.0
        for i in range(3):
            for j in range(3):
                if 0 <= r + i - 1 < 3 and 0 <= c + j - 1 < 4:
                    total += images[b, r + i - 1, c + j - 1, k] * kernel[i, j, 0, k]
        assert found[b, r, c, k] == total


def test_half_precision_is_rounded_once():
    ours, _ = both(1, 3, jnp.bfloat16)
    images = np.random.default_rng(0).standard_normal((1, 6, 6, 4)).astype(jnp.bfloat16)
    variables = ours.init(jax.random.key(0), images)
    found = ours.apply(variables, images)
    assert found.dtype == jnp.bfloat16
    rounded = variables["params"]["kernel"].astype(jnp.bfloat16)
    exact = shifted_sum(jnp.asarray(images, jnp.float32), rounded.astype(jnp.float32), 1)
    np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))
