"""Image files to pixels and back: strict decoding, the one resize routine, JPEG encoding."""

import os
import stat
import zlib
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from jaxtyping import UInt8

from vigor_jax.datasets import image_header
from vigor_jax.datasets.image_header import JPEG_START, PNG_START, ImageHeader
from vigor_jax.errors import UserError

# Our own threads each work on one image; OpenCV's pool below them would only fight for the same cores.
cv2.setNumThreads(0)

JPEG_QUALITY = 95  # of prepared images: artefacts stay below what the resize itself changes

Image = UInt8[np.ndarray, "height width 3"]

PNG_END, JPEG_END = b"IEND\xaeB`\x82", b"\xff\xd9"
_EDGE_BYTES = 1 << 12  # how much of either end of a file `read_size` reads at first
_MAX_FILE_BYTES = 1 << 28  # more than the pixels of any image that is decoded
_MAX_PNG_CHUNKS = 1 << 17


class ImageError(UserError):
    """An image file that is empty, cut short, corrupt or of another kind; names the file and the mend."""


def read_file(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
      ImageError: it cannot be read, is no plain file, or is larger than an image can be.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            _check_file(path, os.fstat(file.fileno()))
            return file.read()
    except OSError as error:
        raise _unreadable(path, error) from error


def decode(data: bytes, name: str, out: UInt8[np.ndarray, "rows columns 3"] | None = None) -> Image:
    """Decodes a whole JPEG or PNG file of 8-bit colour to RGB, uint8 [height, width, 3].

    Strict: what decoders commonly paper over with grey (missing or damaged data) is refused, and so is what they
    would convert unasked: grey, CMYK, 16 bits, transparency, pixels stored turned (EXIF). Palettes are colour.

    Args:
      data: the file's bytes.
      name: of the file, for the error.
      out: where the pixels are written if it has the image's shape, and then what is returned; else left as it is.

    Raises:
      ImageError: empty, truncated or corrupt data, neither JPEG nor PNG, not 8-bit colour, or of a size or a number of
        passes that no image has (a decompression bomb); refused before anything is decoded.
    """
    kind = check_start(data, name)
    header = _header(data, name, kind)
    if header is None:
        raise broken(name, kind, f"it stops after {len(data):,} bytes, within its header")
    if kind == "JPEG":
        try:
            if image_header.too_many_scans(data, header):
                raise ImageError(
                    f"{name}: decoding this JPEG takes more passes than any camera writes. Fetch it again."
                )
            if out is None or out.shape[:2] != header.size:
                return simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
            if simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True, buffer=out).shape != out.shape:
                raise broken(name, kind, "its decoder finds another size than its header says")
            return out
        except ValueError as error:
            raise broken(name, kind, str(error)) from error
    image = decode_png(data, name)
    if out is None or out.shape != image.shape:
        return image
    out[:] = image
    return out


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image file from its first bytes, having checked by its last that it is all there.

    A hundredth of the cost of decoding; damage between the two ends goes unnoticed, and so does transparency.

    Raises:
      ImageError: empty, truncated or unreadable file, neither JPEG nor PNG, not 8-bit colour, or a decompression bomb.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            length = _check_file(path, os.fstat(file.fileno()))
            head = file.read(_EDGE_BYTES)
            kind = check_start(head, str(path))
            header = _header(head, str(path), kind)
            if header is None:  # a header fatter than usual (embedded profiles, thumbnails)
                file.seek(0)
                header = _header(file.read(), str(path), kind)
            if header is None:
                raise broken(str(path), kind, f"it stops after {length:,} bytes, within its header")
            if kind == "PNG":
                file.seek(max(0, length - len(PNG_END)))
                if file.read() != PNG_END or length < 45:
                    raise broken(str(path), kind, f"it stops after {length:,} bytes without its end marker")
                return header.size
            # An embedded thumbnail has an end marker of its own, so only what follows the frame header counts.
            file.seek(max(header.frame_at, length - _EDGE_BYTES))
            if JPEG_END not in file.read():
                file.seek(header.frame_at)  # some cameras append data of their own after the end marker
                if JPEG_END not in file.read():
                    raise broken(str(path), kind, f"it stops after {length:,} bytes without its end marker")
            return header.size
    except OSError as error:
        raise _unreadable(path, error) from error


def resize(image: Image, size: tuple[int, int]) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """Resizes to (height, width): the one routine for every image, since routines differ enough to change recall.

    Axes that shrink average the pixels each new one covers (area), so that a large reduction neither aliases nor
    depends on which pixels a kernel happens to touch; axes that grow interpolate linearly.
    """
    height, width = size
    shrunk = (min(height, image.shape[0]), min(width, image.shape[1]))
    if shrunk != image.shape[:2]:
        image = cv2.resize(image, shrunk[::-1], interpolation=cv2.INTER_AREA)
    if (height, width) != image.shape[:2]:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image


def with_shorter_side(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The (height, width) to resize to for a shorter side of so many pixels in the same proportions, rounded."""
    height, width = size
    longer = max(side, round(side * max(size) / min(size)))
    return (side, longer) if height <= width else (longer, side)


def encode_jpeg(image: Image, quality: int = JPEG_QUALITY) -> bytes:
    """Encodes RGB as a JPEG file, quality 1 to 100, colour at half resolution as cameras do."""
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=quality, colorspace="RGB", colorsubsampling="420", fastdct=False
    )


def encode_png(image: Image) -> bytes:
    """Encodes RGB as a PNG file, without loss."""
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f"an image of shape {image.shape} cannot be encoded")
    return data.tobytes()


def _open_at_once(path: str, flags: int) -> int:
    """Opens a pipe without waiting for its writer; `_check_file` then refuses it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_file(path: Path, status: os.stat_result) -> int:
    """The length in bytes of an open file that may be read whole."""
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path}: not a plain file. Put the image in its place.")
    if status.st_size > _MAX_FILE_BYTES:
        raise ImageError(
            f"{path}: {status.st_size:,} bytes, more than the {_MAX_FILE_BYTES:,} an image may have. Fetch it again."
        )
    return status.st_size


def _unreadable(path: Path, error: OSError) -> ImageError:
    return ImageError(f"{path}: cannot be read ({error.strerror or error}). Mend its permissions, or fetch it again.")


def check_start(data: bytes, name: str) -> str:
    """Which of the two kinds a file is that begins with these bytes: "JPEG" or "PNG".

    Raises:
      ImageError: neither, or empty.
    """
    if not data:
        raise ImageError(f"{name}: the file is empty. Fetch it again.")
    if not data.startswith((JPEG_START, PNG_START)):
        raise ImageError(f"{name}: neither a JPEG nor a PNG; it starts with {data[:8]!r}. Fetch it again.")
    return "JPEG" if data.startswith(JPEG_START) else "PNG"


def _header(data: bytes, name: str, kind: str) -> ImageHeader | None:
    """A header that was found fit, or None if it goes on beyond these bytes."""
    try:
        header = image_header.parse(data)
    except ValueError as error:
        raise broken(name, kind, str(error)) from error
    problem = header and header.problem()
    if problem:
        raise ImageError(f"{name}: {problem}")
    return header


def broken(name: str, kind: str, detail: str) -> ImageError:
    """The error about a file of a kind in which something is wrong."""
    return ImageError(f"{name}: this {kind} is truncated or corrupt ({detail}). Fetch it again.")


def decode_png(data: bytes, name: str) -> Image:
    """Decodes a PNG file whose header was found fit, of grey or colour; EXIF's orientation is left alone.

    Raises:
      ImageError: truncated or corrupt data, or transparency.
    """
    # OpenCV hands back the rows above some damage, so its result alone proves nothing.
    _check_png_chunks(data, name)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise broken(name, "PNG", "the decoder gave up")
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    if image.shape[2] == 4:
        if image[..., 3].min() < 255:
            raise ImageError(f"{name}: parts of it are transparent. Fetch it again, or convert it to RGB.")
        return cv2.cvtColor(image, cv2.COLOR_BGRA2RGB)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _check_png_chunks(data: bytes, name: str) -> None:
    """Walks the chunks to the end marker and compares the checksum of each."""
    at = len(PNG_START)
    for _ in range(_MAX_PNG_CHUNKS):
        length = int.from_bytes(data[at : at + 4], "big")
        body_end = at + 8 + length
        if len(data) < body_end + 4:
            raise broken(name, "PNG", f"it stops after {len(data):,} bytes")
        kind = data[at + 4 : at + 8]
        if zlib.crc32(memoryview(data)[at + 4 : body_end]) != int.from_bytes(data[body_end : body_end + 4], "big"):
            raise broken(name, "PNG", f"wrong checksum at byte {at:,}")
        if kind == b"IEND":
            return
        at = body_end + 4
    raise broken(name, "PNG", f"more than {_MAX_PNG_CHUNKS:,} chunks")
