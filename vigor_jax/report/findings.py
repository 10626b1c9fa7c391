"""What the last evaluation found for every query, in one file: `findings.npz`."""

import dataclasses
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.report.run import ReportError

FILE_NAME = "findings.npz"

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
      ReportError: the file is damaged or of another data set.
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
    names = dict.fromkeys(key.split("/")[0] for key in arrays if "/" in key)
    return {name: _checked(path, name, arrays, data) for name in names}


def _checked(path: Path, split: str, arrays: Mapping[str, np.ndarray], data: CrossViewData) -> Findings:
    fields = [field.name for field in dataclasses.fields(Findings)]
    missing = [name for name in fields if name not in _OPTIONAL and f"{split}/{name}" not in arrays]
    if missing:
        raise ReportError(f"{path}: the split {split} has no {', '.join(missing)}. Evaluate the run again.")
    present = {name: arrays[f"{split}/{name}"] for name in fields if f"{split}/{name}" in arrays}
    lengths = {name: len(value) for name, value in present.items()}
    if len(set(lengths.values())) != 1:
        raise ReportError(f"{path}: the arrays of the split {split} differ in length: {lengths}.")
    found = Findings(**present)
    for rows, size, kind in (
        (found.panorama, len(data.panoramas), "panorama"),
        (found.top5, len(data.tiles), "tile"),
    ):
        outside = rows[(rows < 0) | (rows >= size)]
        if outside.size:
            raise ReportError(
                f"{path}: the split {split} names {kind} {outside.flat[0]} of {data.name}, which has {size:,}: it was "
                "found in another data set. Name the data that the run used, or evaluate it again."
            )
    return found
