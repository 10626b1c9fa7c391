"""What the last evaluation of a run found for single examples, in one file: `findings.npz`."""

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from vigor_jax.workdir.errors import RunFileError

FILE_NAME = "findings.npz"
# Of a damaged archive: MemoryError for a header that claims more than there is, RuntimeError for another compression.
_READ_ERRORS = (OSError, ValueError, KeyError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)


Arrays = Mapping[str, np.ndarray]
Findings = TypeVar("Findings")


def write(directory: Path, step: int, findings: dict[str, np.ndarray]) -> Path:
    """Writes the findings of the evaluation after `step` updates whole or not at all; returns their path."""
    path = directory / FILE_NAME
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, step=np.int64(step), **findings)
    unfinished.replace(path)
    return path


def read(workdir: Path, checked: Callable[[Path, str, Arrays], Findings]) -> dict[str, Findings] | None:
    """The findings of every split; None if the run left none.

    Args:
      workdir: of the run.
      checked: makes findings of the file's path, a split's name and its arrays by name; raises RunFileError if they
        cannot be.

    Raises:
      RunFileError: the file is damaged.
    """
    path = workdir / FILE_NAME
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
    except _READ_ERRORS as error:
        raise RunFileError(f"{path} is damaged ({error}). Evaluate the run again, or remove the file.") from error
    splits: dict[str, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        split, slash, name = key.partition("/")
        if slash:
            splits.setdefault(split, {})[name] = array
    return {split: checked(path, split, found) for split, found in splits.items()}


def chosen(
    path: Path,
    split: str,
    arrays: Arrays,
    required: Sequence[str],
    optional: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """The arrays of these names, a row an example in each.

    Raises:
      RunFileError: a required one is missing, or they differ in length.
    """
    missing = [name for name in required if name not in arrays]
    if missing:
        raise RunFileError(f"{path}: the split {split} has no {', '.join(missing)}. Evaluate the run again.")
    present = {name: arrays[name] for name in (*required, *optional) if name in arrays}
    lengths = {name: len(value) for name, value in present.items()}
    if len(set(lengths.values())) != 1:
        raise RunFileError(f"{path}: the arrays of the split {split} differ in length: {lengths}.")
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
      RunFileError: names one of them.
    """
    outside = rows[(rows < 0) | (rows >= size)]
    if outside.size:
        raise RunFileError(
            f"{path}: the split {split} names {outside.flat[0]} as a {kind}, which has {size:,}: it was found in "
            "another data set. Name the data that the run used, or evaluate it again."
        )
