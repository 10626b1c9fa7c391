import os
import struct
import sys
import threading
import time
import zlib

import cv2
import numpy as np
import pytest
import simplejpeg

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


@pytest.mark.parametrize("encode", [image_codec.encode_png, image_codec.encode_jpeg])
def test_pixels_are_written_where_the_caller_says_if_they_fit(picture, encode):
    data = encode(picture)
    rows = np.full((3, *picture.shape), 7, np.uint8)
    assert image_codec.decode(data, "image", out := rows[1]) is out
    np.testing.assert_array_equal(rows[1], image_codec.decode(data, "image"))
    for shape in ((96, 159, 3), (97, 160, 3), (95, 160, 3)):  # too small and too large
        other = np.full(shape, 7, np.uint8)
        np.testing.assert_array_equal(image_codec.decode(data, "image", other), rows[1])
        assert (other == 7).all()
    assert (rows[[0, 2]] == 7).all()


def test_other_threads_run_while_a_jpeg_is_decoded():
    data = image_codec.encode_jpeg(np.random.default_rng(0).integers(0, 256, (600, 900, 3), np.uint8))
    ready, done = threading.Event(), []

    def decode():
        ready.set()
        image_codec.decode(data, "image")
        done.append(True)

    interval = sys.getswitchinterval()
    # Nobody is interrupted in Python code, so this thread goes on only where the other one lets go by itself.
    sys.setswitchinterval(60)
    try:
        thread = threading.Thread(target=decode)
        thread.start()
        ready.wait()
        assert not done
    finally:
        sys.setswitchinterval(interval)
    thread.join()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: list[bytes], width: int, *, colour: int, bits: int = 8, extra: bytes = b"") -> bytes:
    """A PNG written by hand: of any kind that the format knows."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return image_codec.PNG_START + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def with_orientation(data: bytes, orientation: int, order: str = ">") -> bytes:
    """The same JPEG or PNG with an EXIF orientation."""
    magic = b"MM\0*" if order == ">" else b"II*\0"
    other = struct.pack(order + "HHIHH", 0x0100, 3, 1, 7, 0)
    tiff = magic + struct.pack(order + "IH", 8, 2) + other + struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    if data.startswith(image_codec.PNG_START):
        return data[:33] + chunk(b"eXIf", tiff) + data[33:]
    body = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def assert_refused(data: bytes, folder, message: str, *, by_header: bool = True) -> None:
    path = folder / "image.jpg"
    path.write_bytes(data)
    with pytest.raises(image_codec.ImageError, match=rf"image\.jpg: .*{message}"):
        image_codec.decode(data, str(path))
    if by_header:
        with pytest.raises(image_codec.ImageError, match=rf"image\.jpg: .*{message}"):
            image_codec.read_size(path)


def test_grey_is_refused(tmp_path, picture):
    for suffix in (".png", ".jpg"):
        assert_refused(cv2.imencode(suffix, picture[..., 0])[1].tobytes(), tmp_path, "greyscale where 8-bit colour")
    rows = [np.stack([row, row], axis=-1).tobytes() for row in picture[..., 0]]
    assert_refused(png(rows, 160, colour=4), tmp_path, "greyscale with transparency")


def test_cmyk_is_refused(tmp_path, picture):
    four = np.concatenate([picture, picture[..., :1]], axis=2)
    assert_refused(simplejpeg.encode_jpeg(four, colorspace="CMYK"), tmp_path, "CMYK where 8-bit colour is expected")


def test_16_bits_are_refused(tmp_path, picture):
    assert_refused(cv2.imencode(".png", picture.astype(np.uint16) * 257)[1].tobytes(), tmp_path, "16 bits a sample")
    twelve = bytearray(jpeg(picture))
    twelve[twelve.index(b"\xff\xc0") + 4] = 12
    assert_refused(bytes(twelve), tmp_path, "12 bits a sample")


def test_a_palette_is_colour(tmp_path):
    """What map services hand out: the decoded pixels are the palette's colours, whatever its depth."""
    rng = np.random.default_rng(0)
    palette = rng.integers(0, 256, (256, 3), np.uint8)
    index = rng.integers(0, 256, (12, 20), np.uint8)
    data = png([row.tobytes() for row in index], 20, colour=3, extra=chunk(b"PLTE", palette.tobytes()))
    np.testing.assert_array_equal(image_codec.decode(data, "tile.png"), palette[index])
    (tmp_path / "tile.png").write_bytes(data)
    assert image_codec.read_size(tmp_path / "tile.png") == (12, 20)
    index //= 16
    halves = [bytes(row[0::2] << 4 | row[1::2]) for row in index]
    data = png(halves, 20, colour=3, bits=4, extra=chunk(b"PLTE", palette[:16].tobytes()))
    np.testing.assert_array_equal(image_codec.decode(data, "tile.png"), palette[index])


def test_only_opaque_pixels_are_taken(tmp_path, picture):
    alpha = np.full((*picture.shape[:2], 1), 255, np.uint8)
    rgba = np.concatenate([picture, alpha], axis=2)
    data = png([row.tobytes() for row in rgba], 160, colour=6)
    np.testing.assert_array_equal(image_codec.decode(data, "tile.png"), picture)
    rgba[50, 70, 3] = 254
    assert_refused(png([row.tobytes() for row in rgba], 160, colour=6), tmp_path, "transparent", by_header=False)
    key = chunk(b"tRNS", struct.pack(">HHH", *map(int, picture[3, 4])))
    rows = [row.tobytes() for row in picture]
    assert_refused(png(rows, 160, colour=2, extra=key), tmp_path, "transparent", by_header=False)


@pytest.mark.parametrize("order", ["<", ">"])
def test_turned_pixels_are_refused(tmp_path, picture, order):
    for whole in (jpeg(picture), image_codec.encode_png(picture)):
        upright = with_orientation(whole, 1, order)
        np.testing.assert_array_equal(image_codec.decode(upright, "a"), image_codec.decode(whole, "a"))
        for orientation in (2, 3, 6, 8):
            assert_refused(with_orientation(whole, orientation, order), tmp_path, f"EXIF orientation is {orientation}")
        unknown = with_orientation(whole, 0, order)
        assert image_codec.decode(unknown, "a").shape == picture.shape
    data = jpeg(picture)
    cut = data[:2] + b"\xff\xe1" + struct.pack(">H", 12) + b"Exif\0\0MM\0*" + data[2:]
    assert image_codec.decode(cut, "EXIF without a directory").shape == picture.shape


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch, picture):
    monkeypatch.setattr(simplejpeg, "decode_jpeg", None)  # calling it would be another error
    monkeypatch.setattr(cv2, "imdecode", None)
    huge = bytearray(jpeg(picture))
    at = huge.index(b"\xff\xc0") + 5
    huge[at : at + 4] = struct.pack(">HH", 65_000, 65_000)
    assert_refused(bytes(huge), tmp_path, "claims 65000 x 65000 pixels, more than the 67,108,864")
    rows = [bytes(3 * 2)] * 2
    bomb = bytearray(png(rows, 2, colour=2))
    bomb[16:24] = struct.pack(">II", 1 << 30, 1 << 30)
    assert_refused(bytes(bomb), tmp_path, "claims 1073741824 x 1073741824 pixels")
    bomb[16:24] = struct.pack(">II", 0, 2)
    assert_refused(bytes(bomb), tmp_path, "2 x 0 pixels")
    # A few bytes a scan, each of which visits every block.
    progressive = jpeg(picture, progressive=True)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    assert_refused(progressive[:-2] + scan * 500 + progressive[-2:], tmp_path, "more passes", by_header=False)


def test_headers_without_end_are_refused_at_once(tmp_path, picture):
    started = time.perf_counter()
    assert_refused(b"\xff\xd8" + b"\xff" * 5_000_000, tmp_path, "no pixels after")
    assert_refused(b"\xff\xd8" + b"\xff\xe0\0\2" * 1_000_000, tmp_path, "no pixels after")
    whole = image_codec.encode_png(picture)
    assert_refused(whole[:33] + chunk(b"teXt", b"") * 200_000 + whole[33:], tmp_path, "chunks", by_header=False)
    assert time.perf_counter() - started < 5


def test_what_is_no_plain_file_is_refused(tmp_path, monkeypatch, picture):
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for a writer
    (tmp_path / "folder.jpg").mkdir()
    for name, message in (("pipe.jpg", "not a plain file"), ("folder.jpg", "."), ("nothing.jpg", "cannot be read")):
        for attempt in (image_codec.read_size, image_codec.read_file):
            with pytest.raises(image_codec.ImageError, match=rf"{name}: {message}"):
                attempt(tmp_path / name)
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.write(jpeg(picture))
        file.truncate(1 << 40)
    for attempt in (image_codec.read_size, image_codec.read_file):
        with pytest.raises(image_codec.ImageError, match=r"sparse\.jpg: 1,099,511,627,776 bytes, more than"):
            attempt(tmp_path / "sparse.jpg")


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
