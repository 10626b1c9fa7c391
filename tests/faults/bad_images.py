"""Image files that no camera wrote, or that something happened to: each damages one and returns what must be said."""

import struct
import zlib

import cv2
import numpy as np
import simplejpeg

from tests.faults.raw_city import RawCity

_SHAPE = (64, 128)


def empty(city: RawCity) -> tuple[str, ...]:
    """No bytes."""
    path = city.panoramas[2]
    path.write_bytes(b"")
    return str(path), "the file is empty", "Fetch it again"


def truncated(city: RawCity) -> tuple[str, ...]:
    """The last bytes are missing."""
    path = city.panoramas[3]
    path.write_bytes(path.read_bytes()[:-200])
    return str(path), "truncated", "Fetch it again"


def flipped(city: RawCity) -> tuple[str, ...]:
    """A byte of the compressed pixels is another one."""
    path = city.tiles[4]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    return str(path), "corrupt", "Fetch it again"


def cmyk(city: RawCity) -> tuple[str, ...]:
    """Four printing colours."""
    path = city.panoramas[1]
    path.write_bytes(simplejpeg.encode_jpeg(np.zeros((*_SHAPE, 4), np.uint8), colorspace="CMYK"))
    return str(path), "CMYK", "convert it to RGB"


def grey(city: RawCity) -> tuple[str, ...]:
    """One channel."""
    path = city.panoramas[1]
    path.write_bytes(simplejpeg.encode_jpeg(np.zeros((*_SHAPE, 1), np.uint8), colorspace="GRAY"))
    return str(path), "convert it to RGB"


def sixteen_bit(city: RawCity) -> tuple[str, ...]:
    """Two bytes a channel."""
    path = city.tiles[3]
    path.write_bytes(cv2.imencode(".png", np.zeros((64, 64, 3), np.uint16))[1].tobytes())
    return str(path), "16 bits", "convert it to 8 bits"


def turned(city: RawCity) -> tuple[str, ...]:
    """EXIF says that it is stored on its side."""
    path = city.panoramas[0]
    content = path.read_bytes()
    tiff = b"MM\x00*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\x00\x00" + tiff
    path.write_bytes(content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:])
    return str(path), "EXIF orientation is 6", "upright"


def bomb(city: RawCity) -> tuple[str, ...]:
    """A header that claims ten gigapixels."""
    path = city.tiles[2]
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 100_000, 100_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    return str(path), "100000 x 100000 pixels", "scale it down"


def lost(city: RawCity) -> tuple[str, ...]:
    """A tile that the labels name is not there."""
    path = city.tiles[5]
    path.unlink()
    return str(path.parent), path.name, "Extract the images again"
