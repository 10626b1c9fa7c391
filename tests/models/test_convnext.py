"""ConvNeXt's sizes, shapes and stochastic depth; features are for pretrained/test_convnext.py."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from vigor_jax.models.classifier import classifier
from vigor_jax.models.convnext import ConvNeXt
from vigor_jax.models.pretrained.conversion import variable_shapes


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("convnext_tiny", 28_589_128),
        pytest.param("convnext_small", 50_223_688, marks=pytest.mark.long),
        pytest.param("convnext_base", 88_591_464, marks=pytest.mark.long),
    ],
)
def test_parameters_with_1000_classes(name, parameters):
    shapes = variable_shapes(classifier(name, 1000), (1, 64, 64, 3))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == parameters


def test_shapes_without_what_no_patch_fills():
    network = ConvNeXt((1, 1), (4, 8))
    images = jax.ShapeDtypeStruct((3, 23, 27, 3), jnp.float32)
    maps, _ = jax.eval_shape(lambda images: network.init_with_output(jax.random.key(0), images), images)
    assert [one.shape for one in maps] == [(3, 5, 6, 4), (3, 2, 3, 8)]
    assert network.strides == (4, 8)


def test_later_blocks_are_left_out_more_often():
    network = ConvNeXt((1, 2), (4, 8), stochastic_depth=0.4)
    drops = []

    def watch(call, arguments, keywords, context):
        if isinstance(context.module, nn.Dropout):
            (residual,) = arguments
            drops.append((context.module.rate, residual.ndim - len(context.module.broadcast_dims), keywords))
        return call(*arguments, **keywords)

    with nn.intercept_methods(watch):
        variable_shapes(network, (1, 32, 32, 3))
    # One draw for each example, and none in evaluation.
    assert drops == [(pytest.approx(rate), 1, {"deterministic": True}) for rate in (0, 0.2, 0.4)]
