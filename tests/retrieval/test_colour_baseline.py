"""The colour baselines find what colour can find."""

import numpy as np
import pytest

from vigor_jax.retrieval.colour_baseline import colour_histogram, mean_colour


@pytest.mark.parametrize("describe", [mean_colour, colour_histogram])
def test_images_of_the_same_colours_are_found_whatever_their_arrangement(describe):
    rng = np.random.default_rng(0)
    gallery = (rng.integers(0, 256, (20, 1, 1, 3)) * rng.uniform(0.7, 1.0, (20, 16, 16, 1))).astype(np.uint8)
    queries = np.stack([g.reshape(-1, 3)[rng.permutation(256)].reshape(8, 32, 3) for g in gallery])
    scores = describe(queries) @ describe(gallery).T
    np.testing.assert_array_equal(scores.argmax(axis=1), np.arange(20))
    np.testing.assert_allclose(np.linalg.norm(describe(gallery), axis=1), 1, atol=1e-5)
    assert describe(gallery).dtype == np.float32


def test_histogram_counts_as_a_loop_does():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (5, 4, 6, 3)).astype(np.uint8)
    bins = 2
    counts = np.zeros((5, bins**3))
    for n, image in enumerate(images):
        for r, g, b in image.reshape(-1, 3) // (256 // bins):
            counts[n, (int(r) * bins + int(g)) * bins + int(b)] += 1
    expected = np.sqrt(counts / 24)
    expected = expected - expected.mean(axis=0)
    deviation = expected.std(axis=0)
    expected = expected / np.maximum(deviation, 0.1 * deviation.max())
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(colour_histogram(images, bins), expected, atol=1e-5)


def test_equal_images_get_a_finite_descriptor():
    images = np.full((3, 4, 4, 3), 7, np.uint8)
    assert np.isfinite(mean_colour(images)).all()
    assert np.isfinite(colour_histogram(images)).all()
