"""ResNet's sizes, shapes and statistics; that its features are right is for pretrained/test_resnet.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax.models.classifier import classifier
from vigor_jax.models.pretrained.conversion import variable_shapes
from vigor_jax.models.resnet import DEPTHS, ResNet


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("resnet50", 25_557_032), pytest.param("resnet101", 44_549_160, marks=pytest.mark.long)],
)
def test_parameters_with_1000_classes(name, parameters):
    shapes = variable_shapes(classifier(name, 1000), (1, 64, 64, 3))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == parameters


def test_101_convolutions_and_the_logits():
    assert [1 + 3 * sum(depths) + 1 for depths in DEPTHS.values()] == [50, 101]
    assert ResNet().channels == (256, 512, 1024, 2048)
    assert ResNet().strides == (4, 8, 16, 32)


def test_training_keeps_running_statistics_and_starts_as_the_shortcut():
    network = ResNet(depths=(1,), width=4)
    images = np.random.default_rng(0).normal(3, 2, (3, 17, 22, 3)).astype(np.float32)
    variables = jax.jit(network.init)(jax.random.key(0), images)

    @jax.jit
    def train(variables, images):
        return network.apply(
            variables, images, train=True, mutable=["batch_stats", "intermediates"], capture_intermediates=True
        )

    maps, changed = train(variables, images)
    assert [one.shape for one in maps] == [(3, 5, 6, 16)]
    (stem,) = changed["intermediates"]["conv1"]["__call__"]
    kept = changed["batch_stats"]["bn1"]
    np.testing.assert_allclose(kept["mean"], 0.1 * stem.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(kept["var"], 0.9 + 0.1 * stem.var((0, 1, 2)), rtol=1e-4)
    (shortcut,) = changed["intermediates"]["layer1_0"]["downsample_bn"]["__call__"]
    np.testing.assert_allclose(maps[0], jnp.maximum(shortcut, 0), atol=1e-6)
