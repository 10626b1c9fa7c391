import numpy as np
import pytest

from vigor_jax.datasets.image_codec import ImageError, decode, encode_png
from vigor_jax.input import colour_shift
from vigor_jax.input.colour_shift import IMAGENET


@pytest.fixture(scope="module")
def images():
    """Of different sizes, whose colours vary along brightness most."""
    rng = np.random.default_rng(0)
    encoded = []
    for height in range(4, 12):
        light, tint = rng.normal(0, 40, (height, 7, 1)), rng.normal(0, 8, (height, 7, 3))
        encoded.append(encode_png(np.clip(128 + light + tint, 0, 255).astype(np.uint8)))
    return encoded


NAMES = [f"{i}.png" for i in range(8)]


def test_the_axes_are_those_of_all_pixels(images):
    rows = np.array([0, 2, 3, 5, 7])
    pixels = [pixel / 255 for row in rows for line in decode(images[row], "") for pixel in line.astype(float)]
    mean = sum(pixels) / len(pixels)
    covariance = sum(np.outer(pixel - mean, pixel - mean) for pixel in pixels) / len(pixels)
    colours = colour_shift.principal_colours(images, rows, NAMES)
    assert (np.diff(colours.variances) <= 0).all()
    for variance, axis in zip(colours.variances, colours.axes.T, strict=True):
        np.testing.assert_allclose(covariance @ axis, variance * axis, atol=1e-12)
        np.testing.assert_allclose(axis @ axis, 1, atol=1e-12)
        assert axis.sum() >= 0
    np.testing.assert_allclose(np.abs(colours.axes[:, 0]), 3**-0.5, atol=0.05)


def test_many_images_are_sampled_at_equal_distances(images, monkeypatch):
    monkeypatch.setattr(colour_shift, "_SAMPLED", 3)
    sampled = colour_shift.principal_colours(images, np.arange(8), NAMES)
    chosen = colour_shift.principal_colours(images, np.array([0, 4, 7]), NAMES)
    np.testing.assert_array_equal(sampled.axes, chosen.axes)
    with pytest.raises(ImageError, match=r"3\.png"):
        colour_shift.principal_colours([*images[:3], b""], np.arange(4), NAMES)


def test_the_published_axes_are_orthogonal_and_of_unit_length():
    np.testing.assert_allclose(IMAGENET.axes.T @ IMAGENET.axes, np.eye(3), atol=2e-4)


def test_a_shift_by_the_papers_formula():
    shift = colour_shift.draw(3, 5, 2, IMAGENET, 0.1)
    assert (shift.dtype, shift.shape) == (np.float32, (3,))
    expected = [0.0, 0.0, 0.0]
    a = np.random.default_rng(colour_shift.fold(3, "colour shift", 5, 2)).normal(0, 0.1, 3)
    for channel in range(3):
        for axis in range(3):
            expected[channel] += 255 * IMAGENET.axes[channel, axis] * a[axis] * IMAGENET.variances[axis]
    np.testing.assert_allclose(shift, expected, rtol=1e-6)
    np.testing.assert_array_equal(colour_shift.draw(3, 5, 2, IMAGENET, 0.1), shift)
    others = [colour_shift.draw(*where, IMAGENET, 0.1) for where in ((4, 5, 2), (3, 6, 2), (3, 5, 3))]
    assert all((other != shift).any() for other in others)


def test_shifts_vary_as_much_along_each_axis_as_the_formula_says():
    shifts = np.array([colour_shift.draw(0, step, 0, IMAGENET, 0.1) for step in range(2000)]) / 255
    along = shifts @ IMAGENET.axes
    np.testing.assert_allclose(along.mean(axis=0), 0, atol=4 * 0.1 * IMAGENET.variances[0] / 2000**0.5)
    np.testing.assert_allclose(along.std(axis=0), 0.1 * IMAGENET.variances, rtol=0.07)
