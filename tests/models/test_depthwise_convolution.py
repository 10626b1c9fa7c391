"""The depthwise convolution equals Flax's grouped one, value, gradients and parameters, as CPUs compute it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from vigor_jax.models.depthwise_convolution import DepthwiseConvolution, grouped_convolution
from vigor_jax.models.shifted_sum import shifted_sum
from vigor_jax.parallel import mesh as meshes


def both(dtype=jnp.float32, **settings):
    size, stride = settings["size"], settings["stride"]
    reference = nn.Conv(
        4,
        (size, size),
        strides=stride,
        feature_group_count=4,
        use_bias=settings.get("use_bias", False),
        padding=settings.get("padding", "SAME"),
        dtype=dtype,
    )
    return DepthwiseConvolution(dtype=dtype, **settings), reference


@pytest.mark.parametrize(
    ("stride", "size", "sides", "more"),
    [
        (1, 3, (4, 7), {}),
        (2, 3, (8, 5), {}),
        (2, 3, (1, 2), {}),
        (2, 5, (7, 6), {}),
        (1, 7, (3, 9), {"use_bias": True}),
        (2, 3, (8, 5), {"padding": 1}),
        (2, 5, (8, 11), {"padding": 2}),
        (3, 3, (8, 9), {"padding": 0, "use_bias": True}),  # the last rows are reached by no window
        (1, 2, (4, 5), {"padding": 3}),  # margins wider than the window
    ],
)
def test_value_and_gradients_are_those_of_the_grouped_convolution(stride, size, sides, more):
    ours, reference = both(stride=stride, size=size, **more)
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
    expected = reference.apply(variables, images)
    np.testing.assert_allclose(ours.apply(variables, images), expected, rtol=1e-5, atol=1e-5)
    # What accelerators compute.
    params = variables["params"]
    grouped = grouped_convolution(jnp.asarray(images), params["kernel"], stride, ours.margins(*sides))
    np.testing.assert_allclose(grouped + params.get("bias", 0), expected, rtol=1e-5, atol=1e-5)


def test_by_loops():
    images = np.arange(2 * 3 * 4 * 2, dtype=np.float32).reshape(2, 3, 4, 2)
    kernel = np.arange(18, dtype=np.float32).reshape(3, 3, 1, 2) - 7
    found = np.asarray(shifted_sum(jnp.asarray(images), jnp.asarray(kernel), 1, ((1, 1), (1, 1))))
    for b, r, c, k in np.ndindex(found.shape):
        total = 0.0
        for i in range(3):
            for j in range(3):
                if 0 <= r + i - 1 < 3 and 0 <= c + j - 1 < 4:
                    total += images[b, r + i - 1, c + j - 1, k] * kernel[i, j, 0, k]
        assert found[b, r, c, k] == total


def test_gradients_on_several_devices_are_those_on_one():
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.standard_normal((4, 5, 6, 3)), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((3, 3, 1, 3)), jnp.float32)

    def share(images, kernel):
        return jnp.sum(shifted_sum(images, kernel, 2, ((1, 1), (0, 1))) ** 2)

    rows, whole = PartitionSpec("data"), PartitionSpec()
    mesh = meshes.data_mesh(jax.devices()[:2])
    gradients = jax.grad(share, argnums=(0, 1))

    def summed(images, kernel):
        of_images, of_kernel = gradients(images, jax.lax.pcast(kernel, "data", to="varying"))
        return of_images, jax.lax.psum(of_kernel, "data")

    on_two = jax.shard_map(summed, mesh=mesh, in_specs=(rows, whole), out_specs=(rows, whole))(images, kernel)
    on_one = gradients(images, kernel)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), on_two, on_one)


def test_half_precision_is_rounded_once():
    ours, _ = both(jnp.bfloat16, size=3, stride=1)
    images = np.random.default_rng(0).standard_normal((1, 6, 6, 4)).astype(jnp.bfloat16)
    variables = ours.init(jax.random.key(0), images)
    found = ours.apply(variables, images)
    assert found.dtype == jnp.bfloat16
    rounded = variables["params"]["kernel"].astype(jnp.bfloat16)
    exact = shifted_sum(jnp.asarray(images, jnp.float32), rounded.astype(jnp.float32), 1, ((1, 1), (1, 1)))
    np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))
    gradients = jax.grad(lambda *each: shifted_sum(*each, 1, ((1, 1), (1, 1))).sum(), argnums=(0, 1))
    of_images, of_kernel = gradients(jnp.asarray(images), rounded)
    assert (of_images.dtype, of_kernel.dtype) == (jnp.bfloat16, jnp.bfloat16)
    exact = gradients(jnp.asarray(images, jnp.float32), rounded.astype(jnp.float32))
    np.testing.assert_array_equal(of_images, exact[0].astype(jnp.bfloat16))
    np.testing.assert_array_equal(of_kernel, exact[1].astype(jnp.bfloat16))
