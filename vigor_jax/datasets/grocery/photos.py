"""The .zip of groceries: its classes, its lists of photos and the photos."""

import csv
import io
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vigor_jax.datasets.image_codec import ImageError
from vigor_jax.datasets.image_table import PUBLISHED_SPLITS, ImageTable
from vigor_jax.datasets.photo_source import NoPhotos, PhotoSource
from vigor_jax.errors import UserError

CLASSES = "classes.csv"
LISTS = {"train.txt": "train", "val.txt": "validation", "test.txt": "test"}
_FINE, _FINE_ID = "Class Name (str)", "Class ID (int)"
_COARSE, _COARSE_ID = "Coarse Class Name (str)", "Coarse Class ID (int)"
_LARGEST_FILE = 1 << 26  # bytes, unpacked
_READ_ERRORS = (OSError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)


class GroceryError(UserError):
    """A .zip of groceries in which something is not as it should be."""


class GroceryPhotos(PhotoSource):
    """Reads the .zip as it is: `<folder>/classes.csv`, lists of photos by split, and the photos below."""

    def __init__(self, root: str):
        """Opens the .zip.

        Raises:
          NoPhotos: there is none.
          GroceryError: it is no .zip, or not that of the groceries.
        """
        path = Path(root)
        if not path.is_file():
            raise NoPhotos(
                f"no groceries at --config.images.root={root!r}: it names the .zip itself, which holds "
                f"<folder>/{CLASSES}, {', '.join(list(LISTS)[:2])} and the photos that these list."
            )
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise GroceryError(f"{path} cannot be read as a .zip ({error}). Fetch it again.") from error
        self._infos = {info.filename: info for info in self._zip.infolist() if not info.is_dir()}
        folders = [name.removesuffix(CLASSES) for name in self._infos if f"/{name}".endswith(f"/{CLASSES}")]
        if len(folders) != 1:
            raise GroceryError(
                f"{path}: expected one {CLASSES} within, found {len(folders)}. Name the groceries' .zip."
            )
        self._folder = folders[0]

    def make_table(self) -> ImageTable:
        """The photos of the lists, in their order; names are those of the lists, such as train/Fruit/Kiwi/Kiwi_001.jpg.

        Raises:
          GroceryError: the lists and classes do not agree, or name photos that are not there; says all of them.
        """
        fine, coarse, coarse_of_class = self._read_classes()
        names: list[str] = []
        labels: list[int] = []
        split: list[int] = []
        problems: list[str] = []
        for file, of in LISTS.items():
            if self._folder + file not in self._infos:
                continue
            for number, line in enumerate(self._text(file).splitlines(), 1):
                name, *ids = (field.strip() for field in line.split(","))
                if not (len(ids) == 2 and all(i.isdecimal() for i in ids) and int(ids[0]) < len(fine)):
                    problems.append(f"{file}, line {number}: {line!r} is not a photo with the ids of its two classes")
                elif coarse_of_class[int(ids[0])] != int(ids[1]):
                    problems.append(f"{file}, line {number}: class {ids[0]} is not of the coarse class {ids[1]}")
                elif self._folder + name not in self._infos:
                    problems.append(f"{file}, line {number}: there is no {name}")
                else:
                    names.append(name)
                    labels.append(int(ids[0]))
                    split.append(PUBLISHED_SPLITS.index(of))
        if len(set(names)) < len(names):
            problems.append(f"{len(names) - len(set(names))} photos are listed twice")
        if problems or not names:
            raise GroceryError(_said(self._path, problems or ["it lists no photos"]))
        return ImageTable(
            names=tuple(names),
            labels=np.array(labels, np.int32),
            split=np.array(split, np.int8),
            class_names=fine,
            coarse_of_class=np.array(coarse_of_class, np.int32),
            coarse_names=coarse,
        )

    def read(self, row: int) -> bytes:
        """The JPEG file of a photo."""
        return self._read(self.table.names[row])

    def size_of(self, row: int) -> int:
        """Bytes of the unpacked file."""
        return self._infos[self._folder + self.table.names[row]].file_size

    def name_of(self, row: int) -> str:
        """The .zip and the file within."""
        return f"{self._path}: {self._folder}{self.table.names[row]}"

    def _read(self, name: str) -> bytes:
        info = self._infos[self._folder + name]
        if info.file_size > _LARGEST_FILE:
            raise ImageError(f"{self._path}: {name} unpacks to {info.file_size:,} bytes. Fetch the .zip again.")
        try:
            return self._zip.read(info)
        except _READ_ERRORS as error:
            raise ImageError(f"{self._path}: {name} cannot be unpacked ({error}). Fetch the .zip again.") from error

    def _text(self, name: str) -> str:
        try:
            return self._read(name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise GroceryError(f"{self._path}: {name} is not text ({error}). Fetch the .zip again.") from error

    def _read_classes(self) -> tuple[tuple[str, ...], tuple[str, ...], list[int]]:
        """Names of the fine and the coarse classes by their ids, and the coarse class of each fine one."""
        try:
            rows = list(csv.DictReader(io.StringIO(self._text(CLASSES))))
            fine = {int(row[_FINE_ID]): row[_FINE] for row in rows}
            coarse = {int(row[_COARSE_ID]): row[_COARSE] for row in rows}
            of_fine = {int(row[_FINE_ID]): int(row[_COARSE_ID]) for row in rows}
        except (KeyError, ValueError, TypeError, csv.Error) as error:
            raise GroceryError(f"{self._path}: {CLASSES} cannot be understood ({error!r}). Fetch it again.") from error
        if not _counted(fine) or not _counted(coarse) or len(fine) != len(rows):
            raise GroceryError(f"{self._path}: the ids in {CLASSES} are not 0, 1, 2, ... Fetch the .zip again.")
        return _by_id(fine), _by_id(coarse), [of_fine[i] for i in range(len(fine))]


def _counted(ids: Iterable[int]) -> bool:
    found = sorted(ids)
    return bool(found) and found == list(range(len(found)))


def _by_id(names: dict[int, str]) -> tuple[str, ...]:
    return tuple(names[i] for i in range(len(names)))


def _said(path: Path, problems: list[str]) -> str:
    shown = "".join(f"\n  {problem}" for problem in problems[:20])
    more = f"\n  and {len(problems) - 20:,} more" if len(problems) > 20 else ""
    return f"{path} is not the groceries' .zip as published. Fetch it again.{shown}{more}"
