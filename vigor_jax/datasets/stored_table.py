"""Tables of a prepared data set as one .npz: without pickles, checked when read, told apart by a digest."""

import dataclasses
import hashlib
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeVar

import numpy as np

from vigor_jax.errors import UserError

Table = TypeVar("Table", bound="StoredTable")

# Of a damaged archive: MemoryError for a header that claims more than there is, RuntimeError for another compression.
_READ_ERRORS = (OSError, ValueError, KeyError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)


class TableError(UserError):
    """Stored tables that cannot be used; names the file and what is wrong."""


@dataclasses.dataclass(frozen=True)
class StoredTable:
    """Base of frozen dataclasses whose fields are arrays or sequences of names."""

    name_fields: ClassVar[Sequence[str]]  # the fields that are tuples of names

    @staticmethod
    def problem(arrays: Mapping[str, np.ndarray]) -> str | None:
        """What is wrong with tables that were read; None if nothing is."""
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the tables as an .npz without pickles."""
        arrays = {field.name: np.asarray(getattr(self, field.name)) for field in dataclasses.fields(self)}
        with open(path, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def read(cls: type[Table], path: str | os.PathLike[str]) -> Table:
        """Reads what `save` wrote.

        Raises:
          TableError: it is damaged, or its tables do not belong together.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {field.name: archive[field.name] for field in dataclasses.fields(cls)}
        except _READ_ERRORS as error:
            raise TableError(f"{path} is damaged ({error}). Prepare the data again.") from error
        problem = cls.problem(arrays)
        if problem:
            raise TableError(f"{path} is not what was prepared: {problem}. Prepare the data again.")
        for key in cls.name_fields:
            arrays[key] = tuple(arrays[key].tolist())
        return cls(**arrays)

    def digest(self) -> str:
        """SHA-256 over every table: equal if and only if all values and their order are."""
        sha = hashlib.sha256()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            data = value.tobytes() if isinstance(value, np.ndarray) else "\n".join(value).encode()
            shape = value.shape if isinstance(value, np.ndarray) else (len(value),)
            sha.update(f"{field.name} {shape} {getattr(value, 'dtype', 'str')}\n".encode() + data)
        return sha.hexdigest()
