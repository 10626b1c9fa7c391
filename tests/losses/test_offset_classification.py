import numpy as np

from vigor_jax.losses import cross_entropy, offset_classification


def test_the_cells_are_classes():
    logits = np.random.default_rng(0).normal(size=(5, 100)).astype(np.float32)
    cell = np.array([0, 99, 5, 5, 42])
    assert offset_classification(logits, cell) == cross_entropy(logits, cell) > 0
