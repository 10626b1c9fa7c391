"""Unpacking a tar archive of label files that came from elsewhere: plain files, into one folder, of bounded size."""

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import zlib
from pathlib import Path

from vigor_jax.errors import UserError
from vigor_jax.file_names import is_plain

MAX_BYTES = 1 << 30  # unpacked; VIGOR's labels have 26 million
_OPENERS = {b"\xfd7zXZ\x00": lzma.open, b"\x1f\x8b": gzip.open, b"BZh": bz2.open}


class ArchiveError(UserError):
    """An archive that is damaged, too large, or holds what labels have no use for; names it and the member."""


def extract(archive: Path, into: Path) -> None:
    """Unpacks an archive, compressed or not, below a folder.

    Names that could lead out of the folder, links, devices and everything else but files and folders are refused, not
    passed over: an archive that holds them is not one of labels.

    Raises:
      ArchiveError: as said; what was unpacked before it was found stays below the folder.
    """
    try:
        with _decompressed(archive) as file, tarfile.open(fileobj=_Bounded(file), mode="r|") as members:
            for member in members:
                parts = [part for part in member.name.split("/") if part != "."]
                # Hidden files, which some systems add, are harmless; of `..` nothing is left.
                inside = all(is_plain(part.lstrip(".")) for part in parts)
                if not inside or not (member.isfile() or member.isdir()):
                    raise ArchiveError(
                        f"{archive} holds {member.name!r}, which is no plain file or folder below its own. It is no "
                        "archive of VIGOR's labels: fetch it again from where they are published."
                    )
                path = into.joinpath(*parts)
                if member.isdir():
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with members.extractfile(member) as content, path.open("xb") as copy:
                    shutil.copyfileobj(content, copy)
    except _TooLarge as error:
        raise ArchiveError(
            f"{archive}: unpacked it has more than {MAX_BYTES:,} bytes, far beyond label files. Fetch it again from "
            "where they are published."
        ) from error
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError) as error:
        raise ArchiveError(f"{archive}: not a sound archive of label files ({error}). Fetch it again.") from error


class _TooLarge(Exception):
    """More was unpacked than is allowed."""


class _Bounded:
    """A stream that ends in an error after MAX_BYTES, whatever the headers within say."""

    def __init__(self, file: io.BufferedIOBase):
        self._file = file
        self._left = MAX_BYTES

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise _TooLarge
        return data


def _decompressed(archive: Path) -> io.BufferedIOBase:
    with archive.open("rb") as file:
        start = file.read(6)
    opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), open)
    return opener(archive, "rb")
