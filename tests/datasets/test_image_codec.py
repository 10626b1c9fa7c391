import struct
import zlib

import cv2
import numpy as np
import pytest

from vigor_jax.datasets import image_codec
from vigor_jax.errors import UserError


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A smooth picture with some noise: [96, 160, 3], red on the left, blue at the bottom."""
    rows, columns = np.mgrid[0:96, 0:160]
    clean = np.stack([255 - columns, 40 + 0 * rows, rows * 2], axis=-1)
    noise = np.random.default_rng(0).normal(0, 12, clean.shape)
    return np.clip(clean + noise, 0, 255).astype(np.uint8)


def test_png_round_trip_is_exact(picture):
    np.testing.assert_array_equal(image_codec.decode(image_codec.encode_png(picture), "a.png"), picture)


def test_jpeg_round_trip_is_close_and_keeps_the_channel_order(picture):
    decoded = image_codec.decode(image_codec.encode_jpeg(picture), "a.jpg")
    assert decoded.shape == picture.shape
    assert decoded.dtype == np.uint8
    # The colour noise is halved in resolution; means must stay.
    np.testing.assert_allclose(decoded.mean((0, 1)), picture.mean((0, 1)), atol=1.5)
    small, large = (len(image_codec.encode_jpeg(picture, quality=q)) for q in (50, 95))
    assert small < large


def test_grey_files_become_three_channels(picture):
    for suffix in (".png", ".jpg"):
        data = cv2.imencode(suffix, picture[..., 0])[1].tobytes()
        decoded = image_codec.decode(data, "grey")
        assert decoded.shape == picture.shape
        np.testing.assert_array_equal(decoded[..., 0], decoded[..., 2])


def jpeg(picture, *, progressive=False):
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])[1].tobytes()


def with_thumbnail(data: bytes) -> bytes:
    """The same JPEG with a whole small JPEG in an application segment, as cameras write it."""
    thumbnail = jpeg(np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8))
    assert len(thumbnail) > 2 * image_codec._EDGE_BYTES  # so the header is longer than the first read
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["jpeg", "progressive", "thumbnail", "png"])
def test_truncated_files_are_named(tmp_path, picture, kind, share):
    whole = {
        "jpeg": lambda: jpeg(picture),
        "progressive": lambda: jpeg(picture, progressive=True),
        "thumbnail": lambda: with_thumbnail(jpeg(picture)),
        "png": lambda: image_codec.encode_png(picture),
    }[kind]()
    path = tmp_path / "pano.jpg"
    path.write_bytes(whole)
    assert image_codec.decode(whole, "whole").shape == (96, 160, 3)
    assert image_codec.read_size(path) == (96, 160)

    data = whole[: int(len(whole) * share)]
    path.write_bytes(data)
    with pytest.raises(image_codec.ImageError, match=r"pano\.jpg.*(truncated|empty).*Fetch it again"):
        image_codec.decode(data, str(path))
    with pytest.raises(image_codec.ImageError, match=r"pano\.jpg.*(truncated|empty).*Fetch it again"):
        image_codec.read_size(path)
    assert issubclass(image_codec.ImageError, UserError)


def test_missing_middle_is_refused_though_both_ends_are_there(picture):
    data = jpeg(picture)
    for damaged in (data[: len(data) // 2] + b"\xff\xd9", data[: len(data) // 2] + bytes(1000) + data[-1000:]):
        with pytest.raises(image_codec.ImageError, match="JPEG is truncated or corrupt"):
            image_codec.decode(damaged, "pano.jpg")


def test_one_flipped_byte_of_a_png_is_refused(picture):
    data = bytearray(image_codec.encode_png(picture))
    data[len(data) // 2] ^= 1
    with pytest.raises(image_codec.ImageError, match=r"tile\.png.*wrong checksum"):
        image_codec.decode(bytes(data), "tile.png")


def test_png_that_lacks_pixels_behind_right_checksums_is_refused(picture):
    data = image_codec.encode_png(picture)
    at = data.index(b"IDAT") - 4
    body = b"IDAT" + zlib.compress(b"\x00" * 50)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    with pytest.raises(image_codec.ImageError, match=r"tile\.png.*PNG is truncated or corrupt"):
        image_codec.decode(data[:at] + chunk + data[-12:], "tile.png")


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "login.jpg"
    path.write_bytes(b"<html>please log in</html>")
    for attempt in (lambda: image_codec.decode(path.read_bytes(), str(path)), lambda: image_codec.read_size(path)):
        with pytest.raises(image_codec.ImageError, match=r"login\.jpg: neither a JPEG nor a PNG.*<html>"):
            attempt()


def test_bytes_after_the_end_are_harmless(tmp_path, picture):
    path = tmp_path / "odd.jpg"
    path.write_bytes(jpeg(picture) + bytes(20_000))
    assert image_codec.read_size(path) == (96, 160)
    assert image_codec.decode(path.read_bytes(), "odd.jpg").shape == (96, 160, 3)


def test_shrinking_averages_the_pixels_covered():
    image = np.random.default_rng(1).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    expected = image.reshape(4, 3, 5, 4, 3).astype(np.float64).mean(axis=(1, 3))
    assert np.abs(image_codec.resize(image, (4, 5)) - expected).max() <= 0.51


def test_shrinking_by_a_fraction_weighs_by_area():
    image = np.random.default_rng(2).integers(0, 256, (16, 32, 3), dtype=np.uint8)

    def weights(old, new):
        edges = np.arange(new + 1) * old / new
        low, high = np.arange(old)[None], np.arange(old)[None] + 1
        cover = np.minimum(high, edges[1:, None]) - np.maximum(low, edges[:-1, None])
        return np.maximum(cover, 0) * new / old

    expected = np.einsum("ab,bcd,ec->aed", weights(16, 5), image.astype(np.float64), weights(32, 10))
    assert np.abs(image_codec.resize(image, (5, 10)) - expected).max() <= 1


def test_growing_and_mixed_and_equal_sizes():
    flat = np.full((10, 10, 3), 77, np.uint8)
    for size in ((20, 30), (5, 30), (30, 5)):
        resized = image_codec.resize(flat, size)
        assert resized.shape == (*size, 3)
        assert np.all(resized == 77)
    assert image_codec.resize(flat, (10, 10)) is flat
    ramp = np.repeat(np.arange(0, 200, 20, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(10, axis=0)
    assert np.all(np.diff(image_codec.resize(ramp, (10, 40))[0, :, 0].astype(int)) >= 0)
