"""A folder for each class, with the photos of that class in it."""

import os
from pathlib import Path

from absl import logging

from vigor_jax.datasets import image_codec
from vigor_jax.datasets.photo_source import PhotoSource
from vigor_jax.errors import UserError
from vigor_jax.file_names import is_plain

PHOTO_NAMES = (".jpg", ".jpeg", ".png")  # ends of the names of photos, in either case
_SHOWN = 5  # names an error lists


class FolderError(UserError):
    """Folders of photos that are not laid out as they should be."""


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, in order, but for hidden ones.

    Raises:
      FolderError: a name that cannot be part of a path on every system.
    """
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    for name in names:
        if not is_plain(name):
            raise FolderError(f"{folder}: the folder {name!r} cannot be a class: its name does not print. Rename it.")
    return names


def list_photos(folder: Path) -> list[str]:
    """Names of the photos in a folder, in order. Files of other kinds are left out, and how many is logged.

    Raises:
      FolderError: a photo's name that does not print.
    """
    with os.scandir(folder) as entries:
        files = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())
    photos = [name for name in files if name.lower().endswith(PHOTO_NAMES)]
    odd = [name for name in photos if not is_plain(name)]
    if odd:
        raise FolderError(f"{folder}: the photo {odd[0]!r} has a name that does not print. Rename it.")
    if len(photos) < len(files):
        logging.info("%s: left out %d files that are no photos by their names", folder, len(files) - len(photos))
    return photos


def list_classes(folder: Path) -> dict[str, list[str]]:
    """The photos of each class folder of a folder, both in order.

    Raises:
      FolderError: a class without photos.
    """
    found = {name: list_photos(folder / name) for name in subfolders(folder)}
    empty = [name for name, photos in found.items() if not photos]
    if empty:
        more = f" and {len(empty) - _SHOWN:,} more" if len(empty) > _SHOWN else ""
        raise FolderError(
            f"{folder}: {len(empty):,} of {len(found):,} class folders hold no photos ({', '.join(PHOTO_NAMES)}): "
            f"{', '.join(empty[:_SHOWN])}{more}. Fill or remove them."
        )
    return found


class FilePhotos(PhotoSource):
    """Photos that are files below a root, named by their paths from there."""

    def __init__(self, root: Path):
        self._root = root

    def read(self, row: int) -> bytes:
        """The file of a photo."""
        return image_codec.read_file(self._root / self.table.names[row])

    def size_of(self, row: int) -> int:
        """Bytes of the file."""
        return (self._root / self.table.names[row]).stat().st_size

    def name_of(self, row: int) -> str:
        """The path."""
        return str(self._root / self.table.names[row])
