"""The pointwise convolution equals Flax's 1x1 one, value, gradients and parameters, in both of its forms."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax.models.pointwise_convolution import PointwiseConvolution, convolution, matrix_product


@pytest.mark.parametrize(("stride", "sides"), [(1, (4, 7)), (2, (4, 7)), (2, (5, 1)), (3, (2, 8))])
def test_value_and_gradients_are_those_of_a_convolution(stride, sides):
    ours = PointwiseConvolution(5, stride)
    reference = nn.Conv(5, (1, 1), strides=stride, use_bias=False, padding=0)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, *sides, 3)).astype(np.float32)
    variables = ours.init(jax.random.key(0), images)
    jax.tree.map(np.testing.assert_array_equal, variables, reference.init(jax.random.key(0), images))
    weights = rng.standard_normal(reference.apply(variables, images).shape).astype(np.float32)

    def value(module):
        return lambda variables, images: jnp.sum(module.apply(variables, images) * weights)

    found, expected = (jax.value_and_grad(value(each), argnums=(0, 1))(variables, images) for each in (ours, reference))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


def test_both_forms_are_the_sum_over_channels():
    rng = np.random.default_rng(0)
    images = rng.integers(-9, 9, (2, 3, 4, 5)).astype(np.float32)
    kernel = rng.integers(-9, 9, (1, 1, 5, 6)).astype(np.float32)
    expected = np.empty((2, 3, 4, 6), np.float32)
    for b, r, c, k in np.ndindex(expected.shape):
        expected[b, r, c, k] = sum(images[b, r, c, i] * kernel[0, 0, i, k] for i in range(5))
    for form in (matrix_product, convolution):
        np.testing.assert_array_equal(form(jnp.asarray(images), jnp.asarray(kernel)), expected)


def test_half_precision_stays():
    images = jnp.ones((1, 2, 2, 3), jnp.float32)
    ours = PointwiseConvolution(4, dtype=jnp.bfloat16)
    variables = ours.init(jax.random.key(0), images)
    assert ours.apply(variables, images).dtype == jnp.bfloat16
    assert variables["params"]["kernel"].dtype == jnp.float32
