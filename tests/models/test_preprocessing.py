"""Pixel statistics of each origin of weights."""

import numpy as np
import pytest

from vigor_jax.models import registry
from vigor_jax.models.preprocessing import PREPROCESSINGS, preprocess

_PIXEL = np.array([[[[200, 100, 50]]]], np.uint8)  # red, green, blue


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vigor", [50 - 103.939, 100 - 116.779, 200 - 123.6]),
        ("keras", [50 - 103.939, 100 - 116.779, 200 - 123.68]),
        ("imagenet_mean", [200 - 123.68, 100 - 116.779, 50 - 103.939]),
        ("tf", [200 / 127.5 - 1, 100 / 127.5 - 1, 50 / 127.5 - 1]),
        ("torchvision", [(200 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (50 / 255 - 0.406) / 0.225]),
    ],
)
def test_one_pixel(name, expected):
    pixels = preprocess(_PIXEL, name)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[0, 0, 0], expected, rtol=1e-5)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'cafe'.*imagenet_mean, keras, tf, torchvision, vigor"):
        preprocess(_PIXEL, "cafe")


def test_every_backbone_names_statistics_that_exist():
    named = {name: entry.preprocessing for name, entry in registry.BACKBONES.items()}
    assert {name: one for name, one in named.items() if one not in PREPROCESSINGS} == {}
