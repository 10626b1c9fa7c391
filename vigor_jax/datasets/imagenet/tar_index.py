"""Where each photo lies in a tar file, so that any of them can be read without unpacking."""

import contextlib
import dataclasses
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from vigor_jax import console
from vigor_jax.datasets.class_folders import FolderError


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A file within a tar file."""

    name: str  # without folders
    offset: int  # of its first byte in the tar file
    size: int  # bytes


def members(path: Path) -> list[Member]:
    """The files of a tar file, in the order of their names.

    Raises:
      FolderError: it is cut short or no tar file.
    """
    with path.open("rb") as file, _readable(path):
        return sorted(_files(file), key=lambda member: member.name)


def members_by_archive(path: Path) -> dict[str, list[Member]]:
    """The files of each tar file within a tar file, by its name without .tar; offsets are in the outer one.

    Raises:
      FolderError: it is cut short, no tar file, or holds something else than tar files.
    """
    found = {}
    with path.open("rb") as file, _readable(path):
        archives = sorted(_files(file), key=lambda member: member.name)
        for archive in tqdm(archives, f"Looking through {path.name}", unit="class", disable=console.is_quiet()):
            if not archive.name.endswith(".tar"):
                raise FolderError(f"{path}: {archive.name} within is no .tar. Fetch {path.name} again.")
            file.seek(archive.offset)
            inner = sorted(_files(file), key=lambda member: member.name)
            if any(member.offset + member.size > archive.offset + archive.size for member in inner):
                raise FolderError(f"{path}: {archive.name} within is cut short. Fetch {path.name} again.")
            found[archive.name.removesuffix(".tar")] = inner
    return found


class TarReader:
    """Reads files of a tar file by their place in it; safe to use from many threads."""

    def __init__(self, path: Path):
        self._file = path.open("rb")

    def read(self, member: Member) -> bytes:
        """The bytes of a file; fewer if the tar file is cut short."""
        return os.pread(self._file.fileno(), member.size, member.offset)


def _files(file: BinaryIO) -> Iterator[Member]:
    """The files of the tar file that begins where this one stands."""
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for entry in archive:
            if entry.isfile():
                yield Member(entry.name.rsplit("/", 1)[-1], entry.offset_data, entry.size)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, OSError) as error:
        raise FolderError(f"{path} cannot be read as a tar file ({error}). Fetch it again.") from error
