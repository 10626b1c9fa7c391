import base64

import numpy as np
import pytest

from vigor_jax.datasets import image_codec
from vigor_jax.datasets.image_codec import ImageError
from vigor_jax.report.embedded_image import data_uri


def taken_out(uri):
    kind, data = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    return base64.b64decode(data)


def test_a_small_jpeg_stays_as_it_is():
    encoded = image_codec.encode_jpeg(np.full((64, 64, 3), 99, np.uint8))
    assert taken_out(data_uri(encoded, "a.jpg")) == encoded


def test_a_png_becomes_a_jpeg():
    encoded = image_codec.encode_png(np.full((64, 64, 3), 99, np.uint8))
    assert abs(image_codec.decode(taken_out(data_uri(encoded, "a.png")), "a").mean() - 99) < 1


def test_a_large_image_becomes_smaller_and_keeps_its_shape():
    image = np.random.default_rng(0).integers(0, 256, (1024, 2048, 3)).astype(np.uint8)
    small = taken_out(data_uri(image_codec.encode_jpeg(image), "a.jpg"))
    assert image_codec.decode(small, "a").shape == (320, 640, 3)


def test_a_damaged_image_is_named():
    with pytest.raises(ImageError, match=r"a\.png"):
        data_uri(image_codec.encode_png(np.zeros((64, 64, 3), np.uint8))[:-30], "a.png")
