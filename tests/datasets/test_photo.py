"""What photos are collected as is converted and said; what is damaged is refused."""

import struct
import zlib

import cv2
import numpy as np
import pytest
import simplejpeg

from vigor_jax.datasets import image_codec, photo
from vigor_jax.datasets.image_codec import ImageError


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    return cv2.resize(coarse, (48, 32), interpolation=cv2.INTER_LINEAR)


def exif(orientation: int) -> bytes:
    """An APP1 segment of a JPEG with the orientation alone."""
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, orientation, 0)
    return b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff


def with_exif(jpeg: bytes, orientation: int) -> bytes:
    return jpeg[:2] + exif(orientation) + jpeg[2:]


def test_upright_colour_is_what_the_strict_decoder_gives(pixels):
    for data in (image_codec.encode_jpeg(pixels), image_codec.encode_png(pixels)):
        found = photo.decode(data, "a")
        assert found.converted == ()
        np.testing.assert_array_equal(found.image, image_codec.decode(data, "a"))


def test_grey_becomes_three_equal_channels(pixels):
    grey = np.ascontiguousarray(pixels[..., :1])
    jpeg = simplejpeg.encode_jpeg(grey, colorspace="GRAY", quality=95)
    png = cv2.imencode(".png", grey)[1].tobytes()
    for data in (jpeg, png):
        with pytest.raises(ImageError, match="greyscale"):
            image_codec.decode(data, "a")
        found = photo.decode(data, "a")
        assert found.converted == ("greyscale",)
        np.testing.assert_array_equal(found.image[..., :1], found.image[..., 1:2])
        np.testing.assert_allclose(
            found.image.astype(int), np.repeat(grey, 3, 2).astype(int), atol=0 if data is png else 5
        )


def test_inks_become_light(pixels):
    inks = np.concatenate([pixels, np.full((32, 48, 1), 180, np.uint8)], axis=2)
    found = photo.decode(simplejpeg.encode_jpeg(inks, colorspace="CMYK", quality=100), "a")
    assert found.converted == ("CMYK",)
    np.testing.assert_allclose(found.image, pixels * (180 / 255), atol=4)


# What has to be done to the upright image so that a camera would store it with that orientation.
STORED = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: np.rot90(image, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pixels_are_set_upright(pixels, orientation):
    stored = np.ascontiguousarray(STORED[orientation](pixels))
    jpeg = simplejpeg.encode_jpeg(stored, quality=100, colorspace="RGB", colorsubsampling="444")
    found = photo.decode(with_exif(jpeg, orientation), "a")
    assert found.converted == (() if orientation == 1 else ("turned or mirrored by EXIF",))
    np.testing.assert_allclose(found.image.astype(int), pixels.astype(int), atol=5)


def test_surplus_bytes_after_the_last_pixel_are_let_be(pixels):
    jpeg = image_codec.encode_jpeg(pixels)
    found = photo.decode(jpeg[:-2] + bytes(9) + jpeg[-2:], "a")
    assert found.converted == ("with surplus bytes at its end",)
    np.testing.assert_array_equal(found.image, image_codec.decode(jpeg, "a"))


def test_what_is_lacking_is_refused(pixels):
    jpeg, png = image_codec.encode_jpeg(pixels), image_codec.encode_png(pixels)
    transparent = cv2.imencode(".png", np.dstack([pixels, np.full((32, 48), 9, np.uint8)]))[1].tobytes()
    deep = cv2.imencode(".png", pixels.astype(np.uint16))[1].tobytes()
    header = b"IHDR" + struct.pack(">IIBBBBB", 1 << 20, 1 << 20, 8, 2, 0, 0, 0)
    bomb = png[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
    for data, message in (
        (b"", "empty"),
        (b"GIF89a", "neither a JPEG nor a PNG"),
        (jpeg[:20], "within its header"),
        (jpeg[:-40], "truncated or corrupt"),
        (jpeg[:-40] + b"\xff\xd9", "truncated or corrupt"),
        (png[:-20], "truncated or corrupt"),
        (transparent, "transparent"),
        (deep, "16 bits"),
        (bomb, "more than"),
    ):
        with pytest.raises(ImageError, match=message) as caught:
            photo.decode(data, "folder/a.jpg")
        assert str(caught.value).startswith("folder/a.jpg: ")
