"""One line of VIGOR's label files: a panorama and its four tiles, or a tile of a city's list.

The names hold positions, `<id>,<lat>,<lon>,.jpg` and `satellite_<lat>_<lon>.png`, and become file names.
"""

import math
import re
from typing import NamedTuple

from vigor_jax.errors import UserError
from vigor_jax.file_names import is_plain

COLUMNS = 13
_NUMBER = r"-?[0-9]{1,3}(?:\.[0-9]{1,30})?"
_TILE_NAME = re.compile(rf"satellite_({_NUMBER})_({_NUMBER})\.png")
# Split from the right: ids hold - and _.
_PANORAMA_NAME = re.compile(rf"(\S+),({_NUMBER}),({_NUMBER}),\.jpg")
# Stricter than float(), which takes 1_000 and digits of other scripts.
_OFFSET = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_SHOWN = 120  # characters of a line or name


class LabelError(UserError):
    """A label file that is missing or wrong; names the file, the line and the mend."""


class LabelLine(NamedTuple):
    """A panorama's line."""

    panorama: str  # file name
    panorama_id: str
    position: tuple[float, float]  # latitude, longitude in degrees
    tiles: tuple[str, ...]  # four file names, the positive first
    offset_px: tuple[tuple[float, float], ...]  # of each of them, as published


def parse(line: str, where: str) -> LabelLine:
    """Reads a panorama's line: 13 columns, the panorama, then four times (tile, d0, d1).

    Args:
      line: without its end.
      where: file and line, for the error.

    Raises:
      LabelError: it is not made so.
    """
    columns = line.split()
    if len(columns) != COLUMNS:
        raise LabelError(
            f"{where}: {len(columns)} columns, expected {COLUMNS} (panorama, then four times tile, d0, d1): "
            f"{line[:_SHOWN]!r}. Extract the labels again, or mend the line."
        )
    name = columns[0]
    match = _PANORAMA_NAME.fullmatch(name)
    if match is None or not is_plain(name):
        raise LabelError(
            f"{where}: {name[:_SHOWN]!r} is not a panorama's name, which is <id>,<lat>,<lon>,.jpg, printable, without "
            "folders and of at most 255 bytes. Mend the line."
        )
    lat, lon = float(match[2]), float(match[3])
    if abs(lat) > 85 or abs(lon) > 180:
        raise _no_place(lat, lon, name, where)
    offsets = columns[2::3] + columns[3::3]
    if not all(map(_OFFSET.fullmatch, offsets)) or not all(map(math.isfinite, numbers := list(map(float, offsets)))):
        raise LabelError(f"{where}: among the offsets, {offsets}, one is not a finite number. Mend the line.")
    return LabelLine(
        panorama=name,
        panorama_id=match[1],
        position=(lat, lon),
        tiles=tuple(columns[1::3]),
        offset_px=tuple(zip(numbers[:4], numbers[4:], strict=True)),
    )


def parse_tile(line: str, where: str) -> tuple[str, tuple[float, float]]:
    """Reads a line of a tile list: the tile's name and the (latitude, longitude) of its centre.

    Raises:
      LabelError: it is no tile's name.
    """
    name = line.strip()
    match = _TILE_NAME.fullmatch(name)
    if match is None:
        raise LabelError(f"{where}: {name[:_SHOWN]!r} is not satellite_<lat>_<lon>.png. Mend the line.")
    lat, lon = float(match[1]), float(match[2])
    if abs(lat) > 85 or abs(lon) > 180:
        raise _no_place(lat, lon, name, where)
    return name, (lat, lon)


def _no_place(lat: float, lon: float, name: str, where: str) -> LabelError:
    swapped = " They look swapped." if abs(lon) <= 85 and abs(lat) <= 180 else ""
    place = f"latitude {lat}, longitude {lon}"
    return LabelError(f"{where}: {name} names {place}, which is no place.{swapped} Mend the line.")
