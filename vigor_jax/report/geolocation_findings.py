"""Where the last evaluation of a geolocation run placed every photo."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.workdir import findings
from vigor_jax.workdir.errors import RunFileError


@dataclasses.dataclass(frozen=True)
class GeolocationFindings:
    """One split's photos, and where each was placed.

    Classes are those of the run's cells: they need not be the ones of the data set, which divides no globe.
    """

    row: Int[np.ndarray, "photos"]  # of LabelledImages
    label: Int[np.ndarray, "photos"]  # the true cell; -1: it lies in none
    probable: Int[np.ndarray, "photos shown"]  # cells, most probable first
    probability: Float[np.ndarray, "photos shown"]
    placed_lat: Float[np.ndarray, "photos"]  # degrees
    placed_lon: Float[np.ndarray, "photos"]
    error_km: Float[np.ndarray, "photos"]  # from the true position to the placed one
    chance_km: Float[np.ndarray, "photos"]  # to the centre of the cell with the most training photos

    def __len__(self) -> int:
        return len(self.row)


def read(workdir: Path, data: LabelledImages) -> dict[str, GeolocationFindings] | None:
    """The findings of every split; None if the run left none.

    Raises:
      RunFileError: the file is damaged or of another data set.
    """
    return findings.read(workdir, functools.partial(_checked, data=data))


def _checked(path: Path, split: str, arrays: findings.Arrays, data: LabelledImages) -> GeolocationFindings:
    fields = [field.name for field in dataclasses.fields(GeolocationFindings)]
    found = GeolocationFindings(**findings.chosen(path, split, arrays, fields))
    findings.require_within(path, split, found.row, len(data.lat), f"photo with a position of {data.name}")
    placed = (np.abs(found.placed_lat) <= 90) & (np.abs(found.placed_lon) <= 180)
    measured = (found.error_km >= 0) & (found.chance_km >= 0)  # both false of NaN
    wrong = np.flatnonzero(~(placed & measured))
    if len(wrong):
        raise RunFileError(
            f"{path}: photo {wrong[0]} of the split {split} is placed nowhere on the globe: "
            f"latitude {found.placed_lat[wrong[0]]}, longitude {found.placed_lon[wrong[0]]}, "
            f"{found.error_km[wrong[0]]} km off. Evaluate the run again."
        )
    return found
