"""Whether a disk is full, and how full."""

import errno
import shutil
from pathlib import Path

_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Of the same three, from libraries that hand on the text alone.
_TEXTS = ("No space left on device", "Disk quota exceeded", "File too large")

_UNITS = ("B", "kB", "MB", "GB", "TB")


def is_exhausted(error: BaseException) -> bool:
    """Whether an error of writing means that the disk, the quota or the size of a file is exhausted."""
    return getattr(error, "errno", None) in _NUMBERS or any(text in str(error) for text in _TEXTS)


def free_bytes(directory: Path) -> int:
    """Of the disk that a directory lies on; of its nearest parent that exists."""
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory).free


def readable(count: int) -> str:
    """Of bytes: `512 B`, `1.5 MB` or `20 GB`."""
    number, unit = float(count), 0
    while number >= 1000 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.3g} {_UNITS[unit]}"
