"""Figures of two networks' embeddings, against values that can be seen."""

import numpy as np
import pytest

from vigor_jax.retrieval.embedding_agreement import embedding_agreement, nearest_others


def at(*degrees):
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def test_by_angles():
    teacher, student = at(0, 10, 90, 95), at(0, 40, 90, 60)
    figures = embedding_agreement(student, teacher)
    cosines = np.cos(np.radians([0, 30, 0, 35]))
    assert figures["cosine"] == pytest.approx(cosines.mean())
    assert figures["distance"] == pytest.approx((2 - 2 * cosines).mean())
    # The teacher pairs 0 with 1 and 2 with 3; the student 1 with 3, so that 1 and 3 differ.
    assert figures["agreement"] == 0.5


def test_an_image_is_not_its_own_neighbour_not_even_among_doubles():
    rows = at(20, 20, 20, 50)
    np.testing.assert_array_equal(nearest_others(rows), [1, 0, 0, 0])


def test_two_images_have_no_choice():
    assert "agreement" not in embedding_agreement(at(0, 1), at(0, 90))
