"""The colour baselines find what colour can find."""

import numpy as np
import pytest

from vigor_jax.retrieval.colour_baseline import colour_histogram, mean_colour, standardise


@pytest.mark.parametrize("describe", [mean_colour, colour_histogram])
def test_images_of_the_same_colours_are_found_whatever_their_arrangement(describe):
    rng = np.random.default_rng(0)
    gallery = (rng.integers(0, 256, (20, 1, 1, 3)) * rng.uniform(0.7, 1.0, (20, 16, 16, 1))).astype(np.uint8)
    queries = np.stack([g.reshape(-1, 3)[rng.permutation(256)].reshape(8, 32, 3) for g in gallery])
    scores = np.asarray(standardise(describe(queries)) @ standardise(describe(gallery)).T)
    np.testing.assert_array_equal(scores.argmax(axis=1), np.arange(20))
    assert describe(gallery).dtype == np.float32


def test_mean_and_deviation_of_each_channel():
    images = np.random.default_rng(2).integers(0, 256, (5, 4, 6, 3), np.uint8)
    expected = [[*i.reshape(-1, 3).mean(axis=0), *i.reshape(-1, 3).std(axis=0)] for i in images.astype(np.float64)]
    np.testing.assert_allclose(mean_colour(images), expected, rtol=1e-5)


def test_histogram_counts_as_a_loop_does():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (5, 4, 6, 3)).astype(np.uint8)
    bins = 2
    counts = np.zeros((5, bins**3))
    for n, image in enumerate(images):
        for r, g, b in image.reshape(-1, 3) // (256 // bins):
            counts[n, (int(r) * bins + int(g)) * bins + int(b)] += 1
    np.testing.assert_allclose(colour_histogram(images, bins), np.sqrt(counts / 24), atol=1e-6)


def test_each_feature_is_standardised_over_the_rows_that_are_not_padding():
    features = np.random.default_rng(3).normal(5, [1, 2, 3, 0.001], (8, 4)).astype(np.float32)
    expected = features[:6].astype(np.float64)
    expected = expected - expected.mean(axis=0)
    deviation = expected.std(axis=0)
    expected = expected / np.maximum(deviation, 0.1 * deviation.max())
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(standardise(features, np.arange(8) < 6)[:6], expected, atol=1e-5)
    np.testing.assert_allclose(standardise(features[:6]), expected, atol=1e-5)


def test_equal_images_get_a_finite_descriptor():
    images = np.full((3, 4, 4, 3), 7, np.uint8)
    for describe in (mean_colour, colour_histogram):
        assert np.isfinite(standardise(describe(images))).all()
