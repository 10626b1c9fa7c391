"""EfficientNet's scaling, shapes and stochastic depth; features are for pretrained/test_efficientnet.py."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from vigor_jax.models import registry
from vigor_jax.models.classifier import classifier
from vigor_jax.models.efficientnet import SCALINGS, EfficientNet, round_filters
from vigor_jax.models.pretrained.conversion import variable_shapes

_LONG = pytest.mark.long


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("efficientnet_b0", 5_288_548),
        pytest.param("efficientnet_b1", 7_794_184, marks=_LONG),
        pytest.param("efficientnet_b2", 9_109_994, marks=_LONG),
        pytest.param("efficientnet_b3", 12_233_232, marks=_LONG),
        pytest.param("efficientnet_b4", 19_341_616, marks=_LONG),
        pytest.param("efficientnet_b5", 30_389_784, marks=_LONG),
        pytest.param("efficientnet_b6", 43_040_704, marks=_LONG),
        pytest.param("efficientnet_b7", 66_347_960, marks=_LONG),
    ],
)
def test_parameters_with_1000_classes(name, parameters):
    shapes = variable_shapes(classifier(name, 1000), (1, 64, 64, 3))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == parameters


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("efficientnet_b0", (16, 24, 40, 112, 320)),
        ("efficientnet_b3", (24, 32, 48, 136, 384)),
        ("efficientnet_b5", (24, 40, 64, 176, 512)),
        ("efficientnet_b6", (32, 40, 72, 200, 576)),
        ("efficientnet_b7", (32, 48, 80, 224, 640)),
    ],
)
def test_channels_at_each_resolution(name, channels):
    assert registry.backbone(name).channels == channels


def test_rounding():
    assert registry.backbone("efficientnet_b7").repeats == (4, 7, 7, 10, 10, 13, 4)
    assert [round_filters(32, scaling.width) for scaling in SCALINGS.values()] == [32, 32, 32, 40, 48, 48, 56, 64]
    assert round_filters(16, 1.2) == 24  # not 16, more than a tenth below 19.2
    assert round_filters(4, 0.1) == 8


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_odd_sides_are_rounded_up_at_every_stride(stem_stride):
    network = EfficientNet(0.1, 0.1, stem_stride=stem_stride)
    images = jax.ShapeDtypeStruct((1, 45, 70, 3), jnp.float32)
    maps, _ = jax.eval_shape(lambda images: network.init_with_output(jax.random.key(0), images), images)
    assert network.strides == tuple(stem_stride * stride for stride in (1, 2, 4, 8, 16))
    expected = [(1, -(-45 // s), -(-70 // s), c) for s, c in zip(network.strides, network.channels, strict=True)]
    assert [one.shape for one in maps] == expected


def test_later_blocks_are_left_out_more_often():
    network = EfficientNet(0.5, 0.3, stochastic_depth=0.4)  # 8 blocks, of which the seventh has a shortcut
    drops = []

    def watch(call, arguments, keywords, context):
        if isinstance(context.module, nn.Dropout):
            drops.append((context.module.rate, context.module.broadcast_dims, context.module.deterministic))
        return call(*arguments, **keywords)

    with nn.intercept_methods(watch):
        variable_shapes(network, (1, 32, 32, 3))
    # One draw for each example, and none in evaluation.
    assert drops == [(pytest.approx(0.4 * 6 / 8), (1, 2, 3), True)]
