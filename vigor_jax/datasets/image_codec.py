"""Image files to pixels and back: strict decoding, the one resize routine, JPEG encoding."""

import zlib
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from jaxtyping import UInt8

from vigor_jax.errors import UserError

# Our own threads each work on one image; OpenCV's pool below them would only fight for the same cores.
cv2.setNumThreads(0)

JPEG_QUALITY = 95  # of prepared images: artefacts stay below what the resize itself changes

Image = UInt8[np.ndarray, "height width 3"]

_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the SOF markers: they hold the size
_EDGE_BYTES = 1 << 12  # how much of either end of a file `read_size` reads at first


class ImageError(UserError):
    """An image file that is empty, cut short, corrupt or of another kind; names the file and the mend."""


def decode(data: bytes, name: str) -> Image:
    """Decodes a whole JPEG or PNG file to RGB, uint8 [height, width, 3]; grey files become three equal channels.

    Strict: what decoders commonly paper over with grey (missing or damaged data) is refused.

    Args:
      data: the file's bytes.
      name: of the file, for the error.

    Raises:
      ImageError: empty, truncated or corrupt data, or neither JPEG nor PNG.
    """
    _check_start(data, name)
    if data.startswith(_JPEG_START):
        try:
            return simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
        except ValueError as error:
            raise _broken(name, "JPEG", str(error)) from error
    # OpenCV 4 hands back the rows above the damage, so its result alone proves nothing.
    _check_png_chunks(data, name)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise _broken(name, "PNG", "the decoder gave up")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image file from its first bytes, having checked by its last that it is all there.

    A hundredth of the cost of decoding; damage between the two ends goes unnoticed.

    Raises:
      ImageError: empty or truncated file, or neither JPEG nor PNG.
    """
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_EDGE_BYTES)
        _check_start(head, str(path))
        if head.startswith(_PNG_START):
            file.seek(max(0, length - len(_PNG_END)))
            if file.read() != _PNG_END or length < 45:
                raise _broken(str(path), "PNG", f"it stops after {length:,} bytes without its end marker")
            return int.from_bytes(head[20:24], "big"), int.from_bytes(head[16:20], "big")
        found = _jpeg_frame(head)
        if found is None:  # a header fatter than usual (embedded profiles, thumbnails)
            file.seek(0)
            head = file.read()
            found = _jpeg_frame(head)
        if found is None:
            raise _broken(str(path), "JPEG", f"it stops after {length:,} bytes, within its header")
        size, frame_at = found
        # An embedded thumbnail has an end marker of its own, so only what follows the frame header counts.
        file.seek(max(frame_at, length - _EDGE_BYTES))
        if _JPEG_END not in file.read():
            file.seek(frame_at)  # some cameras append data of their own after the end marker
            if _JPEG_END not in file.read():
                raise _broken(str(path), "JPEG", f"it stops after {length:,} bytes without its end marker")
        return size


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


def _check_start(data: bytes, name: str) -> None:
    if not data:
        raise ImageError(f"{name}: the file is empty. Fetch it again.")
    if not data.startswith((_JPEG_START, _PNG_START)):
        raise ImageError(f"{name}: neither a JPEG nor a PNG; it starts with {data[:8]!r}. Fetch it again.")


def _broken(name: str, kind: str, detail: str) -> ImageError:
    return ImageError(f"{name}: this {kind} is truncated or corrupt ({detail}). Fetch it again.")


def _check_png_chunks(data: bytes, name: str) -> None:
    """Walks the chunks to the end marker and compares the checksum of each."""
    at = len(_PNG_START)
    while True:
        length = int.from_bytes(data[at : at + 4], "big")
        body_end = at + 8 + length
        if len(data) < body_end + 4:
            raise _broken(name, "PNG", f"it stops after {len(data):,} bytes")
        kind = data[at + 4 : at + 8]
        if zlib.crc32(memoryview(data)[at + 4 : body_end]) != int.from_bytes(data[body_end : body_end + 4], "big"):
            raise _broken(name, "PNG", f"wrong checksum at byte {at:,}")
        if kind == b"IEND":
            return
        at = body_end + 4


def _jpeg_frame(head: bytes) -> tuple[tuple[int, int], int] | None:
    """((height, width), where the frame header is) or None if the header goes on beyond these bytes."""
    at = 2
    while at + 9 <= len(head):
        if head[at] != 0xFF:
            return None
        marker = head[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _JPEG_FRAMES:
            return (int.from_bytes(head[at + 5 : at + 7], "big"), int.from_bytes(head[at + 7 : at + 9], "big")), at
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None
