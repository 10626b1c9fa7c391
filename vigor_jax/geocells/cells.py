"""The cells that a network chooses among, and their file."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, Int64, UInt64

from vigor_jax.geocells import cell_id, s2_library
from vigor_jax.geocells.errors import GeocellError

_FORMAT = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """The kept cells of a partition, class by class, in the order of S2's Hilbert curve.

    Raises:
      GeocellError: ids that are none, overlap or are out of order; centres that lie nowhere; a cell without photos.
    """

    ids: UInt64[np.ndarray, "cells"]  # S2's, of any level; none contains another
    lat: Float64[np.ndarray, "cells"]  # degrees, of the centre
    lon: Float64[np.ndarray, "cells"]
    photos: Int64[np.ndarray, "cells"]  # training photos in each
    dropped_photos: int  # training photos in none of them
    most: int  # what `partition` was asked for
    fewest: int
    deepest: int

    def __post_init__(self):
        first, last = cell_id.leaf_span(self.ids)
        if not (len(self.ids) and cell_id.valid(self.ids).all() and (last[:-1] < first[1:]).all()):
            raise GeocellError("these are not cells of a partition: some are invalid, overlap or are out of order.")
        if not ((np.abs(self.lat) <= 90) & (np.abs(self.lon) <= 180) & (self.photos > 0)).all():
            raise GeocellError("these are not cells of a partition: a centre lies nowhere or a cell holds no photo.")

    def __len__(self) -> int:
        """How many classes there are."""
        return len(self.ids)

    def cell_of(
        self, lat: Float[np.ndarray, "photos"], lon: Float[np.ndarray, "photos"]
    ) -> Int64[np.ndarray, "photos"]:
        """Class of each position, -1 outside all kept cells.

        A training photo with -1 is left out. One of an evaluation stays in: it was taken somewhere, no class is right
        for it, and so it counts as an error (`retrieval.geolocation_accuracy`).

        Args:
          lat: degrees in [-90, 90].
          lon: degrees in [-180, 180].

        Raises:
          GeocellError: a position that is none, by its row; s2geometry is not installed.
        """
        leaves = s2_library.leaf_ids(lat, lon)
        first, last = cell_id.leaf_span(self.ids)
        candidate = np.searchsorted(first, leaves, side="right") - 1
        # Before the first cell the candidate is -1, which indexes the last cell and is the answer all the same.
        return np.where(leaves <= last[candidate], candidate, -1).astype(np.int64)

    @property
    def most_frequent(self) -> int:
        """The class with the most training photos, the first of several: what chance is measured by."""
        return int(np.argmax(self.photos))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the ids: equal when each class is the same place."""
        return hashlib.sha256(self.ids.astype("<u8").tobytes()).hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the cells as JSON, one a line with its S2 token, whole or not at all."""
        head = {
            "format": _FORMAT,
            "fingerprint": self.fingerprint,
            **{name: getattr(self, name) for name in ("dropped_photos", "most", "fewest", "deepest")},
        }
        columns = (map(cell_id.token, self.ids.tolist()), self.lat.tolist(), self.lon.tolist(), self.photos.tolist())
        rows = ",\n".join(json.dumps(row) for row in zip(*columns, strict=True))
        path = Path(path)
        unfinished = path.with_name(path.name + ".tmp")
        unfinished.write_text(f'{json.dumps(head)[:-1]}, "cells": [\n{rows}\n]}}\n')
        unfinished.replace(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Cells":
        """The cells that `save` wrote. Needs no S2 library, nor does placing photos at their centres.

        Raises:
          GeocellError: there is no such file, it is none of these, or it is damaged.
        """
        try:
            content = json.loads(Path(path).read_text())
        except FileNotFoundError as error:
            raise GeocellError(f"{path}: no such file; Cells.save writes it.") from error
        except (OSError, ValueError) as error:
            raise GeocellError(f"{path}: not a readable file of cells: {error}. Save them again.") from error
        try:
            if content["format"] != _FORMAT:
                raise GeocellError(f"{path}: format {content['format']!r}; this version reads format {_FORMAT}.")
            tokens, lat, lon, photos = zip(*content["cells"], strict=True)
            cells = cls(
                ids=np.array([cell_id.from_token(token) for token in tokens], np.uint64),
                lat=np.array(lat, np.float64),
                lon=np.array(lon, np.float64),
                photos=np.array(photos, np.int64),
                **{name: int(content[name]) for name in ("dropped_photos", "most", "fewest", "deepest")},
            )
            expected = content["fingerprint"]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise GeocellError(f"{path}: not a file of cells, or damaged: {error!r}. Save them again.") from error
        if cells.fingerprint != expected:
            raise GeocellError(f"{path}: its cells are not those that were saved. Save them again.")
        return cells
