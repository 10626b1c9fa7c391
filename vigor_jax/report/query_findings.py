"""What the last evaluation of a cross-view model found for every query."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.workdir import findings

_OPTIONAL = ("offset_px", "error_m")  # only of models that predict an offset


@dataclasses.dataclass(frozen=True)
class Findings:
    """One split's queries, [Q], and where the model placed them."""

    panorama: Int[np.ndarray, "queries"]  # rows of CrossViewData.panoramas
    top5: Int[np.ndarray, "queries found"]  # rows of CrossViewData.tiles, best first; fewer of a small gallery
    rank: Int[np.ndarray, "queries"]  # references that score at least as high as the positive; 0: found first
    centre_error_m: Float[np.ndarray, "queries"]  # from the query to the centre of its top-1 tile
    offset_px: Float[np.ndarray, "queries 2"] | None = None  # predicted on the top-1 tile, as of geometry.tile_offset
    error_m: Float[np.ndarray, "queries"] | None = None  # from the query to its predicted position

    @property
    def placed_m(self) -> Float[np.ndarray, "queries"]:
        """Metres from each query to where the model says it is: the predicted position, or else the tile's centre."""
        return self.centre_error_m if self.error_m is None else self.error_m

    def __len__(self) -> int:
        return len(self.panorama)


def read(workdir: Path, data: CrossViewData) -> dict[str, Findings] | None:
    """The findings of every split; None if the run left none.

    Raises:
      RunFileError: the file is damaged or of another data set.
    """
    return findings.read(workdir, functools.partial(_checked, data=data))


def _checked(path: Path, split: str, arrays: findings.Arrays, data: CrossViewData) -> Findings:
    fields = [field.name for field in dataclasses.fields(Findings)]
    required = [name for name in fields if name not in _OPTIONAL]
    found = Findings(**findings.chosen(path, split, arrays, required, _OPTIONAL))
    findings.require_within(path, split, found.panorama, len(data.panoramas), f"panorama of {data.name}")
    findings.require_within(path, split, found.top5, len(data.tiles), f"tile of {data.name}")
    return found
