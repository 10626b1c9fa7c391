"""The offset loss is the authors', without their weight of 1/100."""

import numpy as np

from vigor_jax.losses import offset_regression


def test_explicit_sum():
    predicted = np.array([[0.5, -1.0], [0.0, 0.25]], np.float32)
    target = np.array([[0.0, 1.0], [0.5, 0.25]], np.float32)
    np.testing.assert_allclose(offset_regression(predicted, target), (0.25 + 4.0 + 0.25 + 0.0) / 2, rtol=1e-6)


def test_the_authors_value(vigor_reference):
    value = offset_regression(vigor_reference["offset_pred"], vigor_reference["offset_target"])
    np.testing.assert_allclose(value / 100, vigor_reference["out_offset"], atol=1e-5, rtol=0)
