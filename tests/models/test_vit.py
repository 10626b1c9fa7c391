"""ViT by its published sizes; parity is in pretrained/test_vit.py."""

import jax
import numpy as np
import pytest

from vigor_jax.models.classifier import classifier
from vigor_jax.models.pretrained.conversion import variable_shapes


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("vit_small_14", 22_825_192),
        pytest.param("vit_base_14", 88_116_712, marks=pytest.mark.long),
        pytest.param("vit_large_14", 306_416_616, marks=pytest.mark.long),
        pytest.param("vit_giant_14", 1_139_552_232, marks=pytest.mark.long),
        ("vit_base_16", 86_567_656),
    ],
)
def test_parameters_of_a_classifier_of_1000(name, count):
    """The counts of transformers' classes; DINOv2's without the mask token, which is of its pre-training."""
    shapes = variable_shapes(classifier(name, 1000), (1, 32, 32, 3))
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == count
