"""MobileNet's multipliers, variants and statistics; what it computes is compared with transformers' elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax.models.mobilenet import MobileNet, MobileNetHead
from vigor_jax.models.pretrained.conversion import variable_shapes


@pytest.mark.parametrize(
    ("width", "channels"),
    [
        (1.0, (64, 128, 256, 512, 1024)),
        (0.75, (48, 96, 192, 384, 768)),
        (0.33, (21, 42, 84, 168, 337)),  # cut, not rounded
        (0.1, (8, 12, 25, 51, 102)),  # no fewer than 8
    ],
)
def test_width_multiplier(width, channels):
    model = MobileNet(width=width)
    assert model.channels == channels
    assert model.scaled(32) == max(8, int(32 * width))


def test_maps_of_an_odd_image_are_rounded_up():
    model = MobileNet(width=0.25)
    images = jax.ShapeDtypeStruct((1, 45, 225, 3), jnp.float32)
    maps = jax.eval_shape(lambda images: model.init_with_output(jax.random.key(0), images)[0], images)
    assert [one.shape[1:3] for one in maps] == [(23, 113), (12, 57), (6, 29), (3, 15), (2, 8)]


def test_last_depthwise_convolution_has_stride_1():
    # Table 1 of the paper prints 2, over an input and an output of 7 x 7.
    assert [stride for _, _, stride in MobileNet().blocks] == [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]


def test_variants_of_the_paper():
    shallow = variable_shapes(MobileNet(width=0.25, shallow=True), (1, 32, 32, 3))["params"]
    numbers = {int(name.split("_")[1]) for name in shallow if name.startswith("block")}
    assert numbers == {1, 2, 3, 4, 5, 6, 12, 13}
    assert MobileNet(shallow=True).channels == MobileNet().channels
    plain = variable_shapes(MobileNet(width=0.25, separable=False), (1, 32, 32, 3))["params"]
    assert plain["block_13_conv"]["kernel"].shape == (3, 3, 256, 256)
    assert not any("wise" in name for name in plain)


@pytest.fixture(scope="module")
def variables() -> dict:
    shapes = variable_shapes(MobileNet(width=0.25, shallow=True), (1, 32, 32, 3))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.uniform(-0.5, 1, leaf.shape).astype(np.float32), shapes)


def test_training_normalises_by_the_batch_of_all_devices_and_follows_it_slowly(variables):
    images = np.random.default_rng(1).normal(size=(4, 16, 16, 3)).astype(np.float32)

    def train(images, axis_name=None):
        model = MobileNet(width=0.25, shallow=True, axis_name=axis_name)
        maps, stats = model.apply(variables, images, train=True, mutable=["batch_stats"])
        # The first layers alone: what nobody asks for is not compiled.
        return maps[0], {name: stats["batch_stats"][name] for name in ("conv_norm", "block_1_pointwise_norm")}

    halves = jax.jit(jax.vmap(lambda images: train(images, "devices"), axis_name="devices"))
    (features, stats), (parts, part_stats) = jax.jit(train)(images), halves(images.reshape(2, 2, 16, 16, 3))
    np.testing.assert_allclose(parts.reshape(features.shape), features, rtol=1e-4, atol=1e-4)
    for whole, part in zip(jax.tree.leaves(stats), jax.tree.leaves(part_stats), strict=True):
        np.testing.assert_allclose(part, jnp.stack([whole, whole]), rtol=1e-4, atol=1e-5)
    kernel = variables["params"]["conv"]["kernel"]
    features = jax.lax.conv_general_dilated(images, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    before, after = (one["conv_norm"]["mean"] for one in (variables["batch_stats"], stats))
    np.testing.assert_allclose(after, 0.9997 * before + 0.0003 * features.mean((0, 1, 2)), rtol=1e-5)


def test_outputs_lie_between_0_and_6(variables):
    # ReLU6, as in the authors' code; the paper writes ReLU.
    images = 10 * np.random.default_rng(1).normal(size=(1, 16, 16, 3)).astype(np.float32)
    positive = {**variables, "batch_stats": jax.tree.map(np.abs, variables["batch_stats"])}
    features = jax.jit(lambda: MobileNet(width=0.25, shallow=True).apply(positive, images)[1])()
    assert (features.min(), features.max()) == (0, 6)


def test_head_is_the_mean_in_float32():
    features = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(jnp.bfloat16)
    pooled = MobileNetHead(dtype=jnp.bfloat16).apply({}, features)
    assert pooled.dtype == jnp.float32
    np.testing.assert_allclose(pooled, features.astype(np.float64).mean((1, 2)), rtol=1e-6, atol=1e-6)
