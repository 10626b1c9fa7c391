"""Photos as people collect them, decoded as 8-bit RGB, upright.

`image_codec.decode` refuses whatever would have to be converted, which is right for data sets made by one process.
Collections of photos hold some of everything: ImageNet has greyscale and CMYK JPEGs and a PNG that is named JPEG. These
are converted here, and what was done is said; what is damaged, transparent or of more than 8 bits is refused as there.
"""

import dataclasses
import re

import cv2
import numpy as np
import simplejpeg

from vigor_jax.datasets import image_codec, image_header
from vigor_jax.datasets.image_codec import Image, ImageError

# EXIF orientation -> quarter turns clockwise that set the pixels upright, and whether to mirror them afterwards.
_UPRIGHT = {
    1: (0, False),
    2: (0, True),
    3: (2, False),
    4: (2, True),
    5: (1, True),
    6: (1, False),
    7: (3, True),
    8: (3, False),
}
_ROTATIONS = {1: cv2.ROTATE_90_CLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_COUNTERCLOCKWISE}
# Bytes too many after the last pixel: all pixels are there. Some programs write such files.
_SURPLUS = re.compile(r"extraneous bytes before marker 0xd9")


@dataclasses.dataclass(frozen=True)
class Photo:
    """A decoded photo."""

    image: Image
    converted: tuple[str, ...]  # in words, what the file was that is no more; empty for upright RGB


def decode(data: bytes, name: str) -> Photo:
    """Decodes a JPEG or PNG file.

    Args:
      data: the file's bytes, of either kind whatever its name says.
      name: of the file, for the error.

    Raises:
      ImageError: empty, truncated or corrupt data, another kind of file, more than 8 bits, transparency, or a size
        or a number of passes that no image has.
    """
    kind = image_codec.check_start(data, name)
    try:
        header = image_header.parse(data)
    except ValueError as error:
        raise image_codec.broken(name, kind, str(error)) from error
    if header is None:
        raise image_codec.broken(name, kind, f"it stops after {len(data):,} bytes, within its header")
    require_fit(header, name)
    converted = []
    if kind == "JPEG":
        image, surplus = _decode_jpeg(data, name, header)
        if surplus:
            converted.append("with surplus bytes at its end")
    else:
        image = image_codec.decode_png(data, name)
    if header.colour not in ("RGB", "palette", "RGBA"):
        converted.append(header.colour)
    if header.orientation != 1:
        converted.append("turned or mirrored by EXIF")
        turns, mirror = _UPRIGHT[header.orientation]
        image = cv2.rotate(image, _ROTATIONS[turns]) if turns else image
        image = cv2.flip(image, 1) if mirror else image
    return Photo(image, tuple(converted))


def require_fit(header: image_header.ImageHeader, name: str) -> None:
    """Raises ImageError for a file whose header says that it cannot be made 8-bit RGB either."""
    problem = dataclasses.replace(header, colour="RGB", orientation=1).problem()
    if problem:
        raise ImageError(f"{name}: {problem}")
    if header.colour.startswith("of "):
        raise ImageError(f"{name}: it is {header.colour}, which stand for no colour. Convert it to RGB.")


def _decode_jpeg(data: bytes, name: str, header: image_header.ImageHeader) -> tuple[Image, bool]:
    """Pixels, and whether there were bytes too many at the end."""
    if image_header.too_many_scans(data, header):
        raise ImageError(f"{name}: decoding this JPEG takes more passes than any camera writes. Fetch it again.")
    space, surplus = "CMYK" if header.colour == "CMYK" else "RGB", False
    try:
        pixels = simplejpeg.decode_jpeg(data, colorspace=space, strict=True)
    except ValueError as error:
        if not _SURPLUS.search(str(error)):
            raise image_codec.broken(name, "JPEG", str(error)) from error
        pixels, surplus = simplejpeg.decode_jpeg(data, colorspace=space, strict=False), True
    if space == "CMYK":
        # As Adobe's programs write it, and with them nearly everybody: 255 is no ink.
        inks, black = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
        pixels = ((inks * black + 127) // 255).astype(np.uint8)
    return pixels, surplus
