"""What a JPEG or PNG file says of itself before anything is decoded: size, kind of pixels, orientation.

A decoder turns grey and CMYK into RGB, 16 bits into 8, and allocates whatever size a header claims, without a word.
So the header is read first, and what is not 8-bit colour, stored upright, of a size an image can have, is refused.
"""

import dataclasses
import struct
from collections.abc import Iterator

JPEG_START = b"\xff\xd8\xff"
PNG_START = b"\x89PNG\r\n\x1a\n"
# An 11,000 x 5,500 panorama; as pixels 192 MiB, times the decoding threads. VIGOR's panoramas have 2 million.
MAX_PIXELS = 1 << 26

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the SOF markers of a JPEG
_SCAN, _APP1 = 0xDA, 0xE1
# Of a progressive JPEG; encoders write about ten. Each is a pass over all pixels, however few bytes it has.
_MAX_SCANS = 200
# Before the pixels; an embedded colour profile or thumbnail takes at most some 255.
_MAX_SEGMENTS = 1000
_ORIENTATION_TAG = 0x0112
_PNG_COLOURS = {0: "greyscale", 2: "RGB", 3: "palette", 4: "greyscale with transparency", 6: "RGBA"}


@dataclasses.dataclass(frozen=True)
class ImageHeader:
    """Of one file."""

    size: tuple[int, int]  # height, width in pixels, as stored
    colour: str  # "RGB", "palette" and "RGBA" are colour; others are said in words
    bits: int  # a sample
    orientation: int = 1  # of EXIF: 1 is upright, 2 to 8 are turned or mirrored
    frame_at: int = 0  # byte of a JPEG at which its frame header stands

    def problem(self) -> str | None:
        """What makes the image unfit, with the mend; None if nothing does."""
        height, width = self.size
        if not height or not width:
            return f"its header says {height} x {width} pixels. Fetch it again."
        if height * width > MAX_PIXELS:
            return (
                f"its header claims {height} x {width} pixels, more than the {MAX_PIXELS:,} that are decoded. Fetch it "
                "again, or scale it down."
            )
        if self.colour not in ("RGB", "palette", "RGBA"):
            return f"it is {self.colour} where 8-bit colour is expected. Fetch it again, or convert it to RGB."
        if self.bits > 8:
            return f"it has {self.bits} bits a sample where 8 are expected. Fetch it again, or convert it to 8 bits."
        if self.orientation != 1:
            return (
                f"its EXIF orientation is {self.orientation}: the pixels are stored turned or mirrored. Store it "
                "upright, with orientation 1 or none."
            )
        return None


def parse(data: bytes) -> ImageHeader | None:
    """The header of a file that begins with these bytes; None if it goes on beyond them.

    Raises:
      ValueError: it is not made as the format says.
    """
    return _parse_png(data) if data.startswith(PNG_START) else _parse_jpeg(data)


def too_many_scans(data: bytes, header: ImageHeader) -> bool:
    """Whether a whole JPEG file would be passed over so often that decoding it takes minutes."""
    components = data[header.frame_at + 9]
    for marker, at, _ in _segments(data, header.frame_at):
        if marker == _SCAN:
            # One scan of all channels, as nearly every JPEG has it, ends the decoding.
            if data[header.frame_at + 1] in (0xC0, 0xC1) and data[at + 4 : at + 5] == bytes([components]):
                return False
            # Within the pixels' own data 0xFF is never followed by this byte.
            return data.count(bytes([0xFF, _SCAN]), at) > _MAX_SCANS
    return False


def _parse_png(data: bytes) -> ImageHeader | None:
    if len(data) < 29:
        return None
    if data[12:16] != b"IHDR":
        raise ValueError("it does not begin with its header")
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if colour not in _PNG_COLOURS:
        raise ValueError(f"colour type {colour} does not exist")
    return ImageHeader((height, width), _PNG_COLOURS[colour], bits, _png_orientation(data))


def _png_orientation(data: bytes) -> int:
    at = len(PNG_START)
    for _ in range(_MAX_SEGMENTS):
        kind, body = data[at + 4 : at + 8], at + 8
        length = int.from_bytes(data[at : at + 4], "big")
        if kind == b"eXIf":
            return _exif_orientation(data[body : body + length])
        if not kind:
            break
        at = body + length + 4
    return 1


def _parse_jpeg(data: bytes) -> ImageHeader | None:
    orientation = 1
    for marker, at, length in _segments(data, 2):
        if marker in _FRAMES:
            bits, height, width, components = struct.unpack_from(">BHHB", data, at + 4)
            colour = {1: "greyscale", 3: "RGB", 4: "CMYK"}.get(components, f"of {components} channels")
            return ImageHeader((height, width), colour, bits, orientation, at)
        if marker == _APP1 and data[at + 4 : at + 10] == b"Exif\x00\x00":
            orientation = _exif_orientation(data[at + 10 : at + 2 + length])
    return None


def _segments(data: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """(marker, where it stands, length) of a JPEG's segments from one on, as far as these bytes go."""
    for _ in range(_MAX_SEGMENTS):
        if at + 10 > len(data):
            return
        if data[at] != 0xFF:
            raise ValueError(f"no marker at byte {at:,}")
        if data[at + 1] == 0xFF:  # fill byte
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at + 1], at, length
        at += 2 + length
    raise ValueError(f"no pixels after its first {_MAX_SEGMENTS:,} segments")


def _exif_orientation(tiff: bytes) -> int:
    """Of the EXIF data's first directory; 1 if it does not say, or not in a way that anybody could read."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    try:
        if order is None:
            return 1
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, directory + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
