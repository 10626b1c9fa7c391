"""The raw data of labelled images, as their builder and the check see it."""

import abc
import functools
import hashlib

import numpy as np

from vigor_jax.datasets.image_table import ImageTable
from vigor_jax.errors import UserError

_SAMPLED_FILES = 32


class NoPhotos(UserError):
    """There is nothing of a data set where it was looked for."""


class PhotoSource(abc.ABC):
    """Files of photos, wherever they lie, and the table of what they are."""

    @functools.cached_property
    def table(self) -> ImageTable:
        """Names, classes and published splits; row i of it is photo i."""
        return self.make_table()

    @abc.abstractmethod
    def make_table(self) -> ImageTable:
        """Looks for the photos.

        Raises:
          UserError: files are missing, or are not laid out as they should be.
        """

    @abc.abstractmethod
    def read(self, row: int) -> bytes:
        """The file of a photo; safe to call from many threads.

        Raises:
          ImageError: it cannot be read.
        """

    @abc.abstractmethod
    def size_of(self, row: int) -> int:
        """Bytes of the file of a photo."""

    @abc.abstractmethod
    def name_of(self, row: int) -> str:
        """The file of a photo as people find it, for errors."""

    def identity(self) -> str:
        """Eight digits that tell apart the tables and photos of different raw data; takes seconds at most."""
        table = self.table
        sha = hashlib.sha256(table.digest().encode())
        for row in np.linspace(0, len(table.names) - 1, _SAMPLED_FILES).astype(int).tolist():
            sha.update(f"{table.names[row]} {self.size_of(row)}\n".encode())
        return sha.hexdigest()[:8]
