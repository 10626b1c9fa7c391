"""Encoded images that lie in prepared records: one image by its row, from any thread."""

import bisect
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import SupportsIndex

from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from vigor_jax.datasets import prepared_files
from vigor_jax.datasets.cross_view import EncodedImages


class RecordImages:
    """The encoded images of one split of a prepared folder."""

    def __init__(self, source: Sequence, folder: Path):
        """Reads a TFDS data source of raw bytes, whose examples have a feature `image`.

        Args:
          source: of the records.
          folder: that they lie in, for errors.
        """
        self._source = source
        self._folder = folder

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, row: SupportsIndex) -> bytes:
        try:
            # As TFDS would, but for a NumPy array around each feature that costs as much as all of the reading.
            example = tf_example_pb2.Example.FromString(self._source[row])
            return example.features.feature["image"].bytes_list.value[0]
        except (RuntimeError, DecodeError, IndexError) as error:  # of the reader, over a missing file or a checksum
            raise prepared_files.changed(self._folder, f"image {row} cannot be read ({error})") from error


class JoinedImages:
    """The images of several folders, one after the other."""

    def __init__(self, parts: Sequence[EncodedImages]):
        self._parts = parts
        self._ends = list(itertools.accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, row: SupportsIndex) -> bytes:
        row = row.__index__()
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} images")
        part = bisect.bisect_right(self._ends, row)
        return self._parts[part][row - (self._ends[part - 1] if part else 0)]
