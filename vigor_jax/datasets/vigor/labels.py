"""VIGOR's label files: which tiles a city has, and which of them show each panorama's place.

A line (`label_line`) names a panorama and four tiles with their offsets. The published offsets assume 0.114 m/px in
every city; the corrected files (SliceMatch, CVPR 2023) replace only those, and Web Mercator reproduces the corrected
ones from the file names alone.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from vigor_jax import geometry
from vigor_jax.datasets.city_table import CityTable
from vigor_jax.datasets.vigor import label_line, plausibility
from vigor_jax.datasets.vigor.label_line import LabelError, LabelLine
from vigor_jax.file_names import is_plain

LabelSet = Literal["corrected", "original"]
Offsets = Literal["web_mercator", "label_file"]

FOLDERS = ("splits__corrected", "splits")
TILE_LIST = "satellite_list.txt"
_SUFFIX = {"corrected": "__corrected.txt", "original": ".txt"}
TRAIN, TEST, ALL = "same_area_balanced_train", "same_area_balanced_test", "pano_label_balanced"

_SHOWN = 10  # wrong lines that an error names

Parsed = TypeVar("Parsed")


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
    """A city's label file of that name, in `splits__corrected` or `splits`.

    Raises:
      LabelError: what should be a city's name would lead elsewhere.
    """
    if not is_plain(city):
        raise LabelError(f"{city!r} is not a city's name: names are printable and name one folder. Mend the config.")
    return next((path for folder in FOLDERS if (path := root / folder / city / name).is_file()), None)


def read_city(root: Path, city: str, labels: LabelSet = "corrected") -> CityLabels:
    """Reads a city's tile list and panoramas: those of its same-area lists, train then test.

    Where there are no same-area lists, the list of all balanced panoramas serves, none of them marked for the test.

    Raises:
      LabelError: a file is missing, lines are wrong, or what they say cannot be true (`plausibility`).
    """
    tile_names, tile_lat, tile_lon = read_tile_list(root, city)
    row_of_tile = {name: row for row, name in enumerate(tile_names)}
    lists = _panorama_lists(root, city, labels)
    places: list[str] = []
    by_name: dict[str, str] = {}  # where each stands
    by_id: dict[str, str] = {}

    def parse(line: str, where: str) -> LabelLine:
        read = label_line.parse(line, where)
        if read.panorama in by_name:
            raise LabelError(f"{where}: {read.panorama} already stands in {by_name[read.panorama]}. Delete one.")
        if read.panorama_id in by_id:
            raise LabelError(
                f"{where}: a panorama {read.panorama_id!r} already stands in {by_id[read.panorama_id]}, at another "
                "place. Mend or delete the wrong one."
            )
        unknown = [name for name in read.tiles if name not in row_of_tile]
        if unknown:
            raise LabelError(
                f"{where}: tile {unknown[0][:120]} is not in {find_file(root, city, TILE_LIST)}. The two files belong "
                "to different releases, or one is damaged: extract both again."
            )
        by_name[read.panorama] = by_id[read.panorama_id] = where
        places.append(where)
        return read

    lines: list[LabelLine] = []
    is_test: list[bool] = []
    for path, test in lists:
        lines += _parsed(path, parse)
        is_test += [test] * (len(lines) - len(is_test))
    if not lines:
        raise LabelError(f"{lists[0][0]}: no panorama in it. Extract the labels again.")
    lat, lon = np.array([line.position for line in lines], np.float64).T
    references = np.array([[row_of_tile[name] for name in line.tiles] for line in lines], np.int32)
    published_offset_px = np.array([line.offset_px for line in lines], np.float64)
    names = tuple(line.panorama for line in lines)
    plausibility.require_true(
        labels,
        names,
        np.stack([lat, lon], axis=-1),
        np.stack([tile_lat, tile_lon], axis=-1),
        references,
        published_offset_px,
        places.__getitem__,
    )
    return CityLabels(
        city=city,
        tile_names=tile_names,
        tile_lat=tile_lat,
        tile_lon=tile_lon,
        panorama_names=names,
        panorama_lat=lat,
        panorama_lon=lon,
        references=references,
        published_offset_px=published_offset_px,
        same_area_test=np.array(is_test, bool),
    )


def read_tile_list(root: Path, city: str) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Names, latitudes and longitudes of a city's tiles, in the order of its list.

    Raises:
      LabelError: there is no list, lines are wrong, or a tile lies far from the others.
    """
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
    places: dict[str, str] = {}

    def parse(line: str, where: str) -> tuple[float, float]:
        name, position = label_line.parse_tile(line, where)
        if name in places:
            raise LabelError(f"{where}: {name} already stands in {places[name]}. Delete one.")
        places[name] = where
        return position

    positions = _parsed(path, parse)
    if not positions:
        raise LabelError(f"{path}: no tile in it. Extract the labels again.")
    names = tuple(places)
    lat, lon = np.array(positions, np.float64).T
    plausibility.require_one_place(names, lat, lon, lambda row: places[names[row]])
    return names, lat, lon


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


def _parsed(path: Path, parse: Callable[[str, str], Parsed]) -> list[Parsed]:
    """`parse(line, where)` of every line that is not blank; all wrong lines are told at once.

    Whether the last line ends with a newline does not matter.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror or error}). Mend its permissions.") from error
    parsed, wrong = [], []
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            text = line.decode("utf-8")
            if text.strip():
                parsed.append(parse(text, where))
        except UnicodeDecodeError:
            wrong.append(f"{where}: not text in UTF-8: {line[:80]!r}. Extract the labels again.")
        except LabelError as error:
            wrong.append(str(error))
    if wrong:
        more = [f"and {len(wrong) - _SHOWN:,} more wrong lines of {path}"] if len(wrong) > _SHOWN else []
        raise LabelError("\n".join([*wrong[:_SHOWN], *more]))
    return parsed
