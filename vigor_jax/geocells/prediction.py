"""From a probability for each cell to a position."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Float64

from vigor_jax.geocells.cells import Cells
from vigor_jax.geocells.errors import GeocellError

_NO_DIRECTION = 1e-9  # of a mean, in earth radii


def predicted_position(
    cells: Cells, probabilities: Float[np.ndarray, "photos classes"], *, at: Literal["most_probable", "mean"]
) -> tuple[Float64[np.ndarray, "photos"], Float64[np.ndarray, "photos"]]:
    """(lat, lon) in degrees at which each photo is placed.

    Args:
      cells: the classes.
      probabilities: of the classes, a row a photo.
      at: "most_probable": the centre of that cell, as in PlaNet, of equal ones the first; any scores that rise with
        the probability will do. "mean": the centres' mean as points of the globe, weighted by probability (rows need
        not add up to 1), and brought back to its surface: seldom a street, but often fewer thousands of kilometres
        off. A mean at the very middle of the globe has no direction, and its photo is placed at the most probable.

    Raises:
      GeocellError: the model has another number of classes; a row with a value that is not finite or, for the mean, a
        negative one, or only zeros.
    """
    classes = probabilities.shape[1]
    if classes != len(cells):
        raise GeocellError(
            f"{classes:,} probabilities a photo for {len(cells):,} cells: the model was trained on another partition."
        )
    _require(np.isfinite(probabilities).all(axis=1), "not finite, the model has diverged")
    best = np.argmax(probabilities, axis=1)
    lat, lon = cells.lat[best], cells.lon[best]
    if at == "most_probable":
        return lat, lon
    if at != "mean":
        raise ValueError(f'at={at!r}: expected "most_probable" or "mean"')
    weights = probabilities.astype(np.float64)
    _require((weights >= 0).all(axis=1) & (weights > 0).any(axis=1), "negative or all zero, so no probabilities")
    north, east = np.radians(cells.lat), np.radians(cells.lon)
    centres = np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=1)
    x, y, z = (weights / weights.sum(axis=1, keepdims=True) @ centres).T
    somewhere = np.sqrt(x**2 + y**2 + z**2) > _NO_DIRECTION
    mean_lat, mean_lon = np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))
    return np.where(somewhere, mean_lat, lat), np.where(somewhere, mean_lon, lon)


def _require(good: np.ndarray, what: str) -> None:
    bad = np.flatnonzero(~good)
    if len(bad):
        raise GeocellError(
            f"{len(bad):,} of {len(good):,} rows of probabilities are {what}; the first is row {bad[0]}."
        )
