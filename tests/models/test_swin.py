"""Swin by its published sizes, and where no other implementation goes; parity is in pretrained/test_swin.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax.models.classifier import classifier
from vigor_jax.models.pretrained.conversion import variable_shapes
from vigor_jax.models.swin import SwinBody


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("swin_tiny", 28_288_354),
        pytest.param("swin_tiny_384", 28_338_034, marks=pytest.mark.long),
        pytest.param("swin_base", 87_768_224, marks=pytest.mark.long),
        pytest.param("swin_base_384", 87_903_584, marks=pytest.mark.long),
    ],
)
def test_parameters_of_a_classifier_of_1000(name, count):
    """The counts of transformers' SwinForImageClassification."""
    shapes = variable_shapes(classifier(name, 1000), (1, 32, 32, 3))
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == count


def test_a_map_shorter_than_the_window_is_one_small_window():
    """The distances in it keep their biases: a window of side 4 on 2 x 5 places is one of side 2."""
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=(2, 2, 5, 8)), jnp.float32)
    large, small = (SwinBody((1,), (2,), window) for window in (4, 2))
    shapes = jax.eval_shape(large.init, jax.random.key(0), features)
    variables = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    cut = jax.tree.map(
        lambda leaf: leaf.reshape(7, 7, 2)[2:5, 2:5].reshape(9, 2) if leaf.shape == (49, 2) else leaf, variables
    )
    assert cut["params"]["stage1_block1"]["attention"]["relative_position_bias"].shape == (9, 2)
    (ours,), (expected,) = jax.jit(lambda: (large.apply(variables, features), small.apply(cut, features)))()
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
