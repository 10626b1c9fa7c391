"""What a prepared folder was made of: every file's length and digest, so that a changed one is noticed."""

import hashlib
import json
from pathlib import Path

from vigor_jax.errors import UserError

FILE_NAME = "files.json"
_SMALL = 4 << 20  # bytes: reading a file of so many takes no time


class PreparedDataError(UserError):
    """A prepared folder that is incomplete or was changed since; names the file and the mend."""


def record(folder: Path) -> None:
    """Writes down the files that lie in a folder, once it is complete."""
    files = {path.name: _describe(path) for path in sorted(folder.iterdir()) if path.is_file()}
    (folder / FILE_NAME).write_text(json.dumps(files, indent=1))


def verify(folder: Path, *, contents: bool) -> bool:
    """Compares a folder with its record.

    Args:
      folder: of one prepared city.
      contents: read every file and compare digests, at some 1 GB/s; else only small ones (the tables among them), and
        of large ones the lengths.

    Returns:
      False if nothing was recorded: the folder was prepared before records were kept.

    Raises:
      PreparedDataError: a file is missing, or is not the one that was recorded.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return False
    try:
        recorded = json.loads(path.read_bytes())
        expected = {str(name): (int(found["bytes"]), str(found["sha256"])) for name, found in recorded.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise changed(folder, f"{FILE_NAME} is damaged") from error
    for name, (length, digest) in expected.items():
        file = folder / name
        if not file.is_file():
            raise changed(folder, f"{name} is missing")
        if file.stat().st_size != length:
            raise changed(folder, f"{name} has {file.stat().st_size:,} bytes, not the {length:,} that were written")
        if (contents or length <= _SMALL) and _describe(file)["sha256"] != digest:
            raise changed(folder, f"{name} does not hold what was written")
    return True


def changed(folder: Path, what: str) -> PreparedDataError:
    """The error about a folder in which something is not as it was prepared."""
    return PreparedDataError(
        f"{folder} was changed or copied in part since it was prepared: {what}. Delete the folder, and it is prepared "
        "again from the raw data; or copy it again from where it is whole."
    )


def _describe(path: Path) -> dict[str, int | str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}
