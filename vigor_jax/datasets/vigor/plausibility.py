"""Whether a city's labels can be true: places against places, and against the offsets published beside them.

Bounds, and what VIGOR's published labels reach (three labelled cities, 76,999 panoramas; four of tiles):

| | bound | found |
|---|---|---|
| a tile from the middle of its city | 100 km | 5.9 km |
| a panorama from its positive's centre, by axis | 320 px: on the tile | 181.5 px |
| a panorama from a semi-positive's centre, by axis | 640 px: the tile touches the one centred on it | 362.8 px |
| Web Mercator from the corrected offsets | 16 px | 5.7 px |
| Web Mercator from the original offsets | 80 px | 43 px: what their 0.114 m/px makes of Seattle |
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from vigor_jax import geometry
from vigor_jax.datasets.vigor.label_line import LabelError

MAX_CITY_RADIUS_M = 100_000.0
MAX_POSITIVE_PX = geometry.TILE_PX / 2
MAX_SEMI_POSITIVE_PX = float(geometry.TILE_PX)
MAX_DISAGREEMENT_PX = {"corrected": 16.0, "original": 80.0}
_SHOWN = 5  # places an error names

Where = Callable[[int], str]  # row -> "FILE, line N"
_SWAPPED = "its latitude and longitude are swapped"


def require_one_place(
    names: Sequence[str], lat: Float[np.ndarray, "tiles"], lon: Float[np.ndarray, "tiles"], where: Where
) -> None:
    """Checks that a city's tiles lie together.

    Raises:
      LabelError: some lie far from the middle of all; says where, and whether swapped they would not.
    """
    # The median: one tile elsewhere does not move it.
    middle = float(np.median(lat)), float(np.median(lon))
    far = geometry.great_circle_m(lat, lon, *middle) > MAX_CITY_RADIUS_M
    swapped = far & (geometry.great_circle_m(lon, lat, *middle) <= MAX_CITY_RADIUS_M)

    def describe(row: int) -> str:
        km = float(geometry.great_circle_m(lat[row], lon[row], *middle)) / 1000
        hint = f": {_SWAPPED}" if swapped[row] else ""
        return f"{where(row)}: {names[row]} lies {km:,.0f} km from the middle of its city{hint}"

    _require_none(far, "tiles lie outside their city", describe)


def require_true(
    label_set: Literal["corrected", "original"],
    names: Sequence[str],
    position: Float[np.ndarray, "panoramas 2"],
    tile_position: Float[np.ndarray, "tiles 2"],
    references: Int[np.ndarray, "panoramas 4"],
    published_offset_px: Float[np.ndarray, "panoramas 4 2"],
    where: Where,
) -> None:
    """Checks that each panorama lies on its positive and beside its semi-positives, as far off as its line says.

    Args:
      label_set: which of the two published sets the offsets are of.
      names: of the panoramas.
      position: latitude and longitude of the panoramas, degrees.
      tile_position: of the tiles' centres.
      references: rows of the tiles, the positive first.
      published_offset_px: as of `geometry.tile_offset`, by the label lines.
      where: the file and line of a panorama.

    Raises:
      LabelError: counts the lines that cannot be true and names the first, with what explains them.
    """
    tiles = tile_position[references]
    offset = _offsets(position, tiles)
    off_px = np.abs(offset).max(axis=-1)
    limits = np.array([MAX_POSITIVE_PX, *(MAX_SEMI_POSITIVE_PX,) * 3])
    outside = off_px > limits
    panorama_swapped = _lie_on(position[:, ::-1], tiles, limits)
    tiles_swapped = _lie_on(position, tiles[..., ::-1], limits)

    limit = MAX_DISAGREEMENT_PX[label_set]
    disagrees = (np.abs(offset - published_offset_px).max(axis=-1) > limit).any(axis=-1)
    if (outside.any() or disagrees.any()) and _whole_city_swapped(
        position, tile_position, references, published_offset_px, limit
    ):
        raise LabelError(
            f"{where(0)}: latitude and longitude are swapped, here and in every name of the city, of tiles and of "
            "panoramas: only exchanged do they agree with the published offsets. Exchange them, or extract the labels "
            "again."
        )

    def describe_outside(row: int) -> str:
        if panorama_swapped[row] or tiles_swapped[row]:
            why = _SWAPPED if panorama_swapped[row] else "their latitudes and longitudes are swapped"
            return f"{where(row)}: {names[row]} is not where its tiles are: {why}"
        column = int(np.argmax(outside[row]))
        kind = "positive" if column == 0 else f"semi-positive {column}"
        metres = float(geometry.great_circle_m(*position[row], *tiles[row, column]))
        return f"{where(row)}: {names[row]} lies {metres:,.0f} m from the centre of its {kind}, which does not show it"

    def describe_disagreement(row: int) -> str:
        column = int(np.argmax(np.abs(offset[row] - published_offset_px[row]).max(axis=-1)))
        ours, theirs = offset[row, column], published_offset_px[row, column]
        return (
            f"{where(row)}: tile {column + 1} of {names[row]} is at ({ours[0]:.0f}, {ours[1]:.0f}) px by the names, at "
            f"({theirs[0]:g}, {theirs[1]:g}) by the line"
        )

    _require_none(outside.any(axis=1), "panoramas do not lie on their tiles", describe_outside)
    what = f"lines give offsets that contradict their names by more than {limit:g} px"
    _require_none(disagrees, what, describe_disagreement)


def _lie_on(position: np.ndarray, tiles: np.ndarray, limits: np.ndarray) -> Bool[np.ndarray, "panoramas"]:
    """Which panoramas lie on their tiles; none whose latitudes are beyond the projection's end."""
    possible = (np.abs(position[:, 0]) <= 85) & (np.abs(tiles[..., 0]) <= 85).all(axis=-1)
    lies = np.zeros(len(position), bool)
    lies[possible] = (np.abs(_offsets(position[possible], tiles[possible])).max(axis=-1) <= limits).all(axis=-1)
    return lies


def _offsets(position: np.ndarray, tiles: np.ndarray) -> np.ndarray:
    return geometry.tile_offset(position[:, None, 0], position[:, None, 1], tiles[..., 0], tiles[..., 1])


def _whole_city_swapped(
    position: np.ndarray, tile_position: np.ndarray, references: np.ndarray, published: np.ndarray, limit: float
) -> bool:
    """Whether exchanging latitude and longitude everywhere makes nearly all offsets agree."""
    if np.abs(position[:, 1]).max() > 85 or np.abs(tile_position[:, 1]).max() > 85:
        return False
    offset = _offsets(position[:, ::-1], tile_position[:, ::-1][references])
    return bool(np.mean(np.abs(offset - published) <= limit) > 0.9)


def _require_none(wrong: Bool[np.ndarray, "rows"], what: str, describe: Callable[[int], str]) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        shown = "".join(f"\n  {describe(int(row))}" for row in rows[:_SHOWN])
        more = f"\n  and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
        raise LabelError(
            f"{len(rows):,} of {len(wrong):,} {what}:{shown}{more}\nMend these lines, or extract the labels again."
        )
