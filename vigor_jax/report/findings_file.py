"""The file in which a run keeps what its last evaluation found of single examples: `findings.npz`."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vigor_jax.report.run import ReportError

FILE_NAME = "findings.npz"


def read(workdir: Path) -> dict[str, dict[str, np.ndarray]] | None:
    """`{split: {name: array}}` of everything in the file; None if the run left none.

    Raises:
      ReportError: the file is damaged.
    """
    path = workdir / FILE_NAME
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
    # MemoryError: a header that claims more than there is.
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, KeyError, EOFError, MemoryError) as error:
        raise ReportError(f"{path} is damaged ({error}). Evaluate the run again, or remove the file.") from error
    splits: dict[str, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        split, slash, name = key.partition("/")
        if slash:
            splits.setdefault(split, {})[name] = array
    return splits


def chosen(
    path: Path,
    split: str,
    arrays: Mapping[str, np.ndarray],
    required: Sequence[str],
    optional: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """The arrays of these names, a row an example in each.

    Raises:
      ReportError: a required one is missing, or they differ in length.
    """
    missing = [name for name in required if name not in arrays]
    if missing:
        raise ReportError(f"{path}: the split {split} has no {', '.join(missing)}. Evaluate the run again.")
    present = {name: arrays[name] for name in (*required, *optional) if name in arrays}
    lengths = {name: len(value) for name, value in present.items()}
    if len(set(lengths.values())) != 1:
        raise ReportError(f"{path}: the arrays of the split {split} differ in length: {lengths}.")
    return present


def require_within(path: Path, split: str, rows: np.ndarray, size: int, kind: str) -> None:
    """Refuses rows that are none of 0..size - 1.

    Args:
      path: of the file.
      split: that the rows are of.
      rows: of a table.
      size: of the table.
      kind: what its rows are, and of which data set.

    Raises:
      ReportError: names one of them.
    """
    outside = rows[(rows < 0) | (rows >= size)]
    if outside.size:
        raise ReportError(
            f"{path}: the split {split} names {outside.flat[0]} as a {kind}, which has {size:,}: it was found in "
            "another data set. Name the data that the run used, or evaluate it again."
        )
