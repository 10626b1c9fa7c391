"""Damaged image files: an error that names the file, or pixels the decoder vouches for; never a crash or a hang."""

import functools
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigor_jax import datasets
from vigor_jax.config import RenderedCityConfig
from vigor_jax.datasets import image_codec
from vigor_jax.datasets.image_codec import ImageError

HEIGHT, WIDTH = 48, 96
FLIPS = 40  # of each file in every run; the long profile flips bits in thousands of places


def picture() -> np.ndarray:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    clean = np.stack([255 - columns * 2, 40 + rows + columns, rows * 4], axis=-1)
    return np.clip(clean + np.random.default_rng(0).normal(0, 12, clean.shape), 0, 255).astype(np.uint8)


def whole_files() -> dict[str, bytes]:
    rgb = np.ascontiguousarray(picture()[..., ::-1])

    def jpeg(*options: int) -> bytes:
        return cv2.imencode(".jpg", rgb, list(options))[1].tobytes()

    return {
        "baseline": image_codec.encode_jpeg(picture()),
        "progressive": jpeg(cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "restarts": jpeg(cv2.IMWRITE_JPEG_RST_INTERVAL, 4),
        "png": image_codec.encode_png(picture()),
    }


FILES = whole_files()
kinds = pytest.mark.parametrize("kind", sorted(FILES))


def attempt(read, path):
    """What a reader gives, or None after an ImageError that names the file; any other error escapes."""
    try:
        return read()
    except ImageError as error:
        if not str(error).startswith(f"{path}: "):
            raise AssertionError(f"the file is not named: {error}") from error
        return None


def outcome(data: bytes, path) -> np.ndarray | None:
    """The pixels, or None if they are refused; the header alone must agree with them."""
    path.write_bytes(data)
    size = attempt(lambda: image_codec.read_size(path), path)
    image = attempt(lambda: image_codec.decode(data, str(path)), path)
    if image is not None:
        assert image.shape == (*size, 3)
        assert image.dtype == np.uint8
    elsewhere = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    into = attempt(lambda: image_codec.decode(data, str(path), elsewhere), path)
    assert (into is None) == (image is None)
    if image is not None:
        assert (into is elsewhere) == (image.shape == elsewhere.shape)
        np.testing.assert_array_equal(into, image)
    return image


@kinds
def test_truncated_at_every_sixteenth(kind, tmp_path):
    data = FILES[kind]
    assert outcome(data, tmp_path / "image") is not None
    for sixteenth in range(16):
        cut = data[: len(data) * sixteenth // 16]
        assert outcome(cut, tmp_path / "image") is None, f"{sixteenth}/16"
        with pytest.raises(ImageError):
            image_codec.read_size(tmp_path / "image")


def reads_the_same_elsewhere(data: bytes, image: np.ndarray) -> bool:
    """Whether another decoder sees what ours saw, which warned of nothing: a changed picture, not a filled gap."""
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return other is not None and np.abs(other[..., ::-1].astype(int) - image).max() <= 2


@kinds
def test_flipped_bits(kind, tmp_path):
    whole = FILES[kind]
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    for _ in range(FLIPS):
        data = bytearray(whole)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        image = outcome(bytes(data), tmp_path / "image")
        if image is not None:
            assert kind != "png"  # whose every byte has a checksum
            assert reads_the_same_elsewhere(bytes(data), image)


@given(st.sampled_from(sorted(FILES)), st.data())
def test_any_damage(tmp_path_factory, kind, data):
    """Bytes replaced, removed, repeated or put in, anywhere."""
    content = FILES[kind]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(at, min(len(content), at + 200)))
        content = content[:at] + data.draw(st.binary(max_size=8) | st.just(content[at:end] * 2)) + content[end:]
    outcome(content, tmp_path_factory.getbasetemp() / "damaged")


starts = st.sampled_from([b"", image_codec.JPEG_START, image_codec.PNG_START, FILES["png"][:33]])


@given(st.binary(max_size=300), starts)
def test_any_bytes(tmp_path_factory, content, start):
    outcome(start + content, tmp_path_factory.getbasetemp() / "anything")


def test_the_builder_prepares_nothing_of_a_damaged_image(write_mini_vigor, tmp_path):
    """Of a city with one image truncated or flipped: prepared whole and true, or an error and no prepared city."""
    mini = write_mini_vigor(tmp_path / "VIGOR", cities=("Seattle",))
    path = mini.root / "Seattle" / "panorama" / mini.panoramas["Seattle"][2]
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[: len(whole) * k // 16] for k in range(0, 16, 3)]
    for _ in range(4):
        flipped = bytearray(whole)
        flipped[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        damaged.append(bytes(flipped))
    refused = 0
    for index, data in enumerate(damaged):
        path.write_bytes(data)
        config = mini.config(tmp_path / str(index), protocols=("same_area",))
        prepared = attempt(functools.partial(datasets.load, config, RenderedCityConfig()), path)
        if prepared is None:
            assert not list((tmp_path / str(index)).glob("vigor/*/1.0.0"))
            refused += 1
        else:
            expected = image_codec.resize(image_codec.decode(data, "flipped"), (32, 64))
            stored = image_codec.decode(prepared.ground[2], "stored")
            assert np.abs(stored.astype(int) - expected).max() < 12  # JPEG of quality 95
    assert refused >= 6  # all that were cut


def test_a_damaged_file_does_not_end_the_process():
    """Thousands of flips in a process of its own, so that a crash of a decoder in C is seen as one."""
    script = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from tests.fuzz.test_images import FILES
from vigor_jax.datasets.image_codec import ImageError, decode
rng = np.random.default_rng(1)
decoded = 0
for whole in FILES.values():
    for _ in range(int(sys.argv[2])):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(len(data))] = rng.integers(256)
        try:
            decode(bytes(data), "damaged")
            decoded += 1
        except ImageError:
            pass
print(decoded)
"""
    repository = str(Path(__file__).resolve().parents[2])
    result = subprocess.run(
        [sys.executable, "-c", script, repository, "300"], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert int(result.stdout) >= 0
