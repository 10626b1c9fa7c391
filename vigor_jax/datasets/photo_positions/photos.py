"""Photos in any folders, and beside them `positions.csv`, which says where each was taken."""

import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vigor_jax.datasets.class_folders import PHOTO_NAMES, FilePhotos
from vigor_jax.datasets.image_table import PUBLISHED_SPLITS, ImageTable
from vigor_jax.datasets.photo_source import NoPhotos
from vigor_jax.errors import UserError
from vigor_jax.file_names import is_plain

LIST = "positions.csv"
_COLUMNS = ("photo", "lat", "lon")
# Stricter than float(), which takes 1_000, nan and digits of other scripts.
_DEGREES = re.compile(r"[-+]?[0-9]{1,3}(?:\.[0-9]{0,30})?")
_SHOWN = 120  # characters of a value


class PositionListError(UserError):
    """A list of positions that is wrong; names the line and the mend."""


class _Line(NamedTuple):
    photo: str
    lat: float
    lon: float
    split: int


class PositionedPhotos(FilePhotos):
    """The photos that a list names, in its order."""

    def __init__(self, root: str):
        """Names the folder of the list.

        Raises:
          NoPhotos: it holds no list.
        """
        if not root or not (Path(root) / LIST).is_file():
            raise NoPhotos(
                f"no photos at --config.images.root={root!r}: it names a folder that holds {LIST}, whose first line is "
                "photo,lat,lon or photo,lat,lon,split and each other line a photo below that folder and where it was "
                f"taken, in degrees; splits are {', '.join(PUBLISHED_SPLITS)}."
            )
        super().__init__(Path(root))

    def make_table(self) -> ImageTable:
        """Every photo of the list.

        Raises:
          PositionListError: columns, a name, a position or a split that is none; a photo named twice or not there.
        """
        lines = list(self._lines())
        if not lines:
            raise PositionListError(f"{self._root / LIST} names no photos.")
        return ImageTable(
            tuple(line.photo for line in lines),
            np.zeros(len(lines), np.int32),
            np.array([line.split for line in lines], np.int8),
            ("photo",),  # positions are all that tells them apart
            lat=np.array([line.lat for line in lines]),
            lon=np.array([line.lon for line in lines]),
        )

    def _lines(self) -> Iterator[_Line]:
        path = self._root / LIST
        seen: dict[str, int] = {}
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = csv.reader(file, strict=True)
                header = next(rows, [])
                if header not in ([*_COLUMNS], [*_COLUMNS, "split"]):
                    raise PositionListError(
                        f"{path}: the first line is {','.join(header)[:_SHOWN]!r}, expected {','.join(_COLUMNS)} or "
                        f"{','.join(_COLUMNS)},split."
                    )
                for row in rows:
                    where = f"{path}, line {rows.line_num}"
                    if len(row) != len(header):
                        raise PositionListError(f"{where}: {len(row)} columns, expected {len(header)}. Mend the line.")
                    line = self._line(row, where)
                    if line.photo in seen:
                        raise PositionListError(
                            f"{where}: {line.photo} stands in line {seen[line.photo]} too. Remove one of them."
                        )
                    seen[line.photo] = rows.line_num
                    yield line
        except (csv.Error, UnicodeDecodeError, OSError) as error:
            raise PositionListError(f"{path} cannot be read as UTF-8 CSV: {error}.") from error

    def _line(self, row: list[str], where: str) -> _Line:
        photo, *degrees = row[:3]
        if not (photo.lower().endswith(PHOTO_NAMES) and all(map(is_plain, photo.split("/")))):
            raise PositionListError(
                f"{where}: {photo[:_SHOWN]!r} is not a photo's path below {self._root}, printable, with / between "
                f"folders, none of them .., and {', '.join(PHOTO_NAMES)} at its end."
            )
        if not (self._root / photo).is_file():
            raise PositionListError(f"{where}: there is no {self._root / photo}. Add the photo or remove the line.")
        lat, lon = (float(text) if _DEGREES.fullmatch(text) else math.nan for text in degrees)
        if not (abs(lat) <= 90 and abs(lon) <= 180):
            raise PositionListError(
                f"{where}: latitude {degrees[0][:_SHOWN]!r}, longitude {degrees[1][:_SHOWN]!r}. Expected degrees with "
                "a decimal point, latitudes in [-90, 90] and longitudes in [-180, 180]."
            )
        split = row[3] if len(row) > 3 else PUBLISHED_SPLITS[0]
        if split not in PUBLISHED_SPLITS:
            raise PositionListError(
                f"{where}: the split {split[:_SHOWN]!r} is none. Splits are {', '.join(PUBLISHED_SPLITS)}."
            )
        return _Line(photo, lat, lon, PUBLISHED_SPLITS.index(split))
