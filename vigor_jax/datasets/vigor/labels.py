"""VIGOR's label files: which tiles a city has, and which of them show each panorama's place.

A label line has 13 columns: the panorama, then four times (tile, d0, d1), the positive first. The published offsets
(d0, d1) assume 0.114 m/px in every city; the corrected files (SliceMatch, CVPR 2023) replace only those, and Web
Mercator reproduces the corrected ones from the file names alone.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from vigor_jax import geometry
from vigor_jax.datasets.city_table import CityTable
from vigor_jax.errors import UserError

LabelSet = Literal["corrected", "original"]
Offsets = Literal["web_mercator", "label_file"]

FOLDERS = ("splits__corrected", "splits")
TILE_LIST = "satellite_list.txt"
_SUFFIX = {"corrected": "__corrected.txt", "original": ".txt"}
TRAIN, TEST, ALL = "same_area_balanced_train", "same_area_balanced_test", "pano_label_balanced"

_COLUMNS = 13
_NUMBER = r"-?\d+(?:\.\d+)?"
_TILE_NAME = re.compile(rf"satellite_({_NUMBER})_({_NUMBER})\.png")
# Split from the right: ids hold - and _. No separators and no leading dot, so a name cannot leave its folder.
_PANORAMA_NAME = re.compile(rf"(?!\.)[^/\\\x00\s]+,({_NUMBER}),({_NUMBER}),\.jpg")


class LabelError(UserError):
    """A label file that is missing or wrong; names the file, the line and the mend."""


@dataclasses.dataclass(frozen=True)
class CityLabels:
    """One city's label files as they stand; row i of an array is tile or panorama i."""

    city: str
    tile_names: Sequence[str]
    tile_lat: Float[np.ndarray, "tiles"]
    tile_lon: Float[np.ndarray, "tiles"]
    panorama_names: Sequence[str]
    panorama_lat: Float[np.ndarray, "panoramas"]
    panorama_lon: Float[np.ndarray, "panoramas"]
    references: Int[np.ndarray, "panoramas 4"]
    published_offset_px: Float[np.ndarray, "panoramas 4 2"]
    same_area_test: Bool[np.ndarray, "panoramas"]

    def table(self, offsets: Offsets = "web_mercator") -> CityTable:
        """The tables with offsets from the positions in the file names, or with the label files' own."""
        if offsets == "label_file":
            offset_px = self.published_offset_px
        else:
            offset_px = geometry.tile_offset(
                self.panorama_lat[:, None],
                self.panorama_lon[:, None],
                self.tile_lat[self.references],
                self.tile_lon[self.references],
            )
        return CityTable(
            tile_names=self.tile_names,
            tile_lat=self.tile_lat,
            tile_lon=self.tile_lon,
            panorama_names=self.panorama_names,
            panorama_lat=self.panorama_lat,
            panorama_lon=self.panorama_lon,
            references=self.references,
            offset_px=offset_px,
            same_area_test=self.same_area_test,
        )


def find_cities(root: Path) -> list[str]:
    """Names of the cities that have a tile list under a root, sorted."""
    return sorted({path.parent.name for folder in FOLDERS for path in root.glob(f"{folder}/*/{TILE_LIST}")})


def find_file(root: Path, city: str, name: str) -> Path | None:
    """A city's label file of that name, in `splits__corrected` or `splits`."""
    return next((path for folder in FOLDERS if (path := root / folder / city / name).is_file()), None)


def read_city(root: Path, city: str, labels: LabelSet = "corrected") -> CityLabels:
    """Reads a city's tile list and panoramas: those of its same-area lists, train then test.

    Where there are no same-area lists, the list of all balanced panoramas serves, none of them marked for the test.

    Raises:
      LabelError: a file is missing or a line is wrong.
    """
    tile_names, tile_lat, tile_lon = read_tile_list(root, city)
    row_of_tile = {name: row for row, name in enumerate(tile_names)}
    lists = _panorama_lists(root, city, labels)
    names: dict[str, tuple[Path, int]] = {}
    positions, references, offsets, is_test = [], [], [], []
    for path, test in lists:
        for number, line in _lines(path):
            columns = line.split()
            if len(columns) != _COLUMNS:
                raise LabelError(
                    f"{path}, line {number}: {len(columns)} columns, expected {_COLUMNS} (panorama, then four times "
                    f"tile, d0, d1): {line[:120]!r}. Extract the labels again, or mend the line."
                )
            where = f"{path}, line {number}"
            match = _PANORAMA_NAME.fullmatch(columns[0])
            if match is None:
                raise LabelError(
                    f"{where}: {columns[0]!r} is not a panorama's name, which is <id>,<lat>,<lon>,.jpg without "
                    "folders. Mend the line."
                )
            if columns[0] in names:
                first, at = names[columns[0]]
                raise LabelError(f"{where}: {columns[0]} already stands in {first}, line {at}. Delete one of the two.")
            names[columns[0]] = (path, number)
            positions.append(_position(match, columns[0], where))
            try:
                references.append([row_of_tile[name] for name in columns[1::3]])
            except KeyError as error:
                raise LabelError(
                    f"{where}: tile {error.args[0]} is not in {find_file(root, city, TILE_LIST)}. The two files belong "
                    "to different releases, or one is damaged: extract both again."
                ) from error
            offsets.append(_numbers([*columns[2::3], *columns[3::3]], where))
            is_test.append(test)
    if not names:
        raise LabelError(f"{lists[0][0]}: no panorama in it. Extract the labels again.")
    lat, lon = np.array(positions, np.float64).T
    return CityLabels(
        city=city,
        tile_names=tile_names,
        tile_lat=tile_lat,
        tile_lon=tile_lon,
        panorama_names=tuple(names),
        panorama_lat=lat,
        panorama_lon=lon,
        references=np.array(references, np.int32),
        published_offset_px=np.array(offsets, np.float64).reshape(-1, 2, 4).swapaxes(1, 2),
        same_area_test=np.array(is_test, bool),
    )


def read_tile_list(root: Path, city: str) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Names, latitudes and longitudes of a city's tiles, in the order of its list."""
    path = find_file(root, city, TILE_LIST)
    if path is None:
        looked = " and ".join(str(root / folder / city / TILE_LIST) for folder in FOLDERS)
        cities = find_cities(root)
        raise LabelError(
            f"no tile list of {city}: looked for {looked}. "
            + (
                f"Cities found there: {', '.join(cities)}. Name those with --config.data.train_cities=... and "
                "--config.data.test_cities=..."
                if cities
                else "No city has one there; extract VIGOR's splits into that folder."
            )
        )
    names, positions = {}, []
    for number, line in _lines(path):
        name = line.strip()
        match = _TILE_NAME.fullmatch(name)
        if match is None:
            raise LabelError(f"{path}, line {number}: {name[:120]!r} is not satellite_<lat>_<lon>.png. Mend the line.")
        if name in names:
            raise LabelError(f"{path}, line {number}: {name} already stands in line {names[name]}. Delete one.")
        names[name] = number
        positions.append(_position(match, name, f"{path}, line {number}"))
    if not names:
        raise LabelError(f"{path}: no tile in it. Extract the labels again.")
    lat, lon = np.array(positions, np.float64).T
    return tuple(names), lat, lon


def label_set_there(root: Path, city: str) -> LabelSet:
    """The corrected set if a city has any file of it, else the original one."""
    corrected = any(find_file(root, city, list_name(kind, "corrected")) for kind in (TRAIN, TEST, ALL))
    return "corrected" if corrected else "original"


def list_name(kind: str, labels: LabelSet) -> str:
    """File name of a list (`TRAIN`, `TEST`, `ALL`) in a label set."""
    return kind + _SUFFIX[labels]


def _panorama_lists(root: Path, city: str, labels: LabelSet) -> list[tuple[Path, bool]]:
    """The files to read, each with whether it is the test half."""
    found = {kind: find_file(root, city, list_name(kind, labels)) for kind in (TRAIN, TEST, ALL)}
    if found[TRAIN] and found[TEST]:
        return [(found[TRAIN], False), (found[TEST], True)]
    if found[ALL] and not found[TRAIN] and not found[TEST]:
        return [(found[ALL], False)]
    missing = [list_name(kind, labels) for kind in (TRAIN, TEST) if not found[kind]]
    other: LabelSet = "original" if labels == "corrected" else "corrected"
    has_other = [kind for kind in (TRAIN, TEST) if find_file(root, city, list_name(kind, other))]
    mend = (
        f"The {other} ones are there: read them with --config.data.labels={other}."
        if len(has_other) == 2
        else "Extract them there, or leave the city out of --config.data.train_cities and --config.data.test_cities."
    )
    folders = " or ".join(str(root / folder / city) for folder in FOLDERS)
    raise LabelError(f"{city} has tiles but no panoramas: {' and '.join(missing)} missing in {folders}. {mend}")


def _lines(path: Path) -> list[tuple[int, str]]:
    """The numbered lines that are not blank; whether the last one ends with a newline does not matter."""
    text = path.read_text(encoding="utf-8")
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _position(match: re.Match[str], name: str, where: str) -> tuple[float, float]:
    lat, lon = float(match[1]), float(match[2])
    if abs(lat) > 85 or abs(lon) > 180:
        raise LabelError(f"{where}: {name} names latitude {lat}, longitude {lon}, which is no place. Mend the line.")
    return lat, lon


def _numbers(columns: list[str], where: str) -> list[float]:
    try:
        numbers = [float(column) for column in columns]
    except ValueError as error:
        raise LabelError(f"{where}: {error} among the offsets. Mend the line.") from error
    if not np.all(np.isfinite(numbers)):
        raise LabelError(f"{where}: an offset is not a finite number. Mend the line.")
    return numbers
