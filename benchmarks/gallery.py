"""Descriptors and positions of a city that was never photographed, of any size, for the benchmarks of evaluation."""

import dataclasses
import functools

import numpy as np

from vigor_jax import geometry
from vigor_jax.retrieval.windows import windows

_FACTORS = 256  # that the descriptors differ in; trained ones need as few of their 4,096 numbers
_SPACING_M = 36.5  # of VIGOR's tiles


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Queries of a gallery, some found at once, some behind hundreds of others; the same for the same sizes."""

    ground: np.ndarray  # [Q, D] float32, of unit length
    aerial: np.ndarray  # [M, D] float32
    references: np.ndarray  # [Q, 4] rows of `aerial`, the positive first
    tile_at: tuple[np.ndarray, np.ndarray]  # (lat, lon) in degrees
    query_at: tuple[np.ndarray, np.ndarray]

    @functools.cached_property
    def windows(self) -> np.ndarray:
        """Of assisted navigation."""
        return windows(self.references[:, 0], *self.query_at, *self.tile_at, seed=0)

    @functools.cached_property
    def names(self) -> tuple[list[str], list[str]]:
        """File names of queries and tiles, with their positions in them."""
        query_at, tile_at = (zip(*(x.tolist() for x in at), strict=True) for at in (self.query_at, self.tile_at))
        queries = [f"pano_{number},{lat!r},{lon!r},.jpg" for number, (lat, lon) in enumerate(query_at)]
        return queries, [f"satellite_{lat!r}_{lon!r}.png" for lat, lon in tile_at]


def gallery(queries: int, tiles: int, dim: int, seed: int = 0) -> Gallery:
    """A city of a square grid of tiles, each like its neighbour, and queries somewhere between four of them."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(tiles)))
    cell = np.arange(tiles)
    # The last row may be short: positives lie where a tile to the east and one to the south exist.
    corners = cell[(cell % side < side - 1) & (cell + side + 1 < tiles)]
    positive = rng.choice(corners, queries, replace=queries > len(corners))
    references = np.stack([positive, positive + 1, positive + side, positive + side + 1], axis=1)

    # Each factor weighs less than the one before, as principal components do.
    weights = (1 + np.arange(_FACTORS)) ** -0.5
    own = rng.normal(size=(tiles, _FACTORS)).astype(np.float32)
    tile_factors = (own + 0.5 * np.roll(own, 1, axis=0)) * weights.astype(np.float32)
    clearness = rng.uniform(0.2, 1.2, (queries, 1)).astype(np.float32)
    noise = rng.normal(size=(queries, _FACTORS)).astype(np.float32) * weights.astype(np.float32)
    basis = (rng.normal(size=(_FACTORS, dim)) / np.sqrt(dim)).astype(np.float32)

    at = np.stack([cell // side, cell % side], axis=1) * _SPACING_M
    beside = rng.uniform(0.05, 0.5, (queries, 2)) * _SPACING_M
    lat, lon = geometry.locate(40.7, -74.0, -at, metres_per_px=1.0)
    return Gallery(
        _unit((clearness * tile_factors[positive] + noise) @ basis),
        _unit(tile_factors @ basis),
        references,
        (lat, lon),
        geometry.locate(lat[positive], lon[positive], -beside, metres_per_px=1.0),
    )


def _unit(rows: np.ndarray) -> np.ndarray:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
