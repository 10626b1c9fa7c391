"""The tiles around a noisy GPS position (VIGOR; the authors' evaluate_from_npy.py).

A window of +-200 m holds some 120 of a city's tiles. They are looked up on the host in float64, so that whether a tile
on the window's edge is in it does not hang on float32. They depend on positions and the seed alone, not on the model.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from vigor_jax import geometry
from vigor_jax.input.randomness import fold
from vigor_jax.retrieval.errors import EvaluationError


def noisy_positions(
    lat: Float[np.ndarray, "queries"], lon: Float[np.ndarray, "queries"], *, seed: int, noise_m: float = 100.0
) -> tuple[Float[np.ndarray, "queries"], Float[np.ndarray, "queries"]]:
    """(lat, lon) in degrees, moved by uniform noise of up to `noise_m` metres along each axis.

    The noise of query i is a function of (seed, i) alone.
    """
    states = [fold(seed, "assisted navigation", query).generate_state(2, np.uint64) for query in range(len(lat))]
    noise = (np.array(states) / 2.0**64 * 2 - 1) * noise_m
    return geometry.locate(lat, lon, noise, metres_per_px=1.0)


def windows(
    positive: Int[np.ndarray, "queries"],
    query_lat: Float[np.ndarray, "queries"],
    query_lon: Float[np.ndarray, "queries"],
    tile_lat: Float[np.ndarray, "tiles"],
    tile_lon: Float[np.ndarray, "tiles"],
    *,
    seed: int,
    noise_m: float = 100.0,
    window_m: float = 200.0,
) -> Int[np.ndarray, "queries candidates"]:
    """Tiles in each query's window: the positive, then the others in ascending order, then -1.

    The window is the tiles whose centre is within `window_m` metres, along each axis, of the true position moved by
    `noisy_positions`.

    Args:
      positive: tile of each query.
      query_lat: degrees, the true positions.
      query_lon: degrees.
      tile_lat: degrees, of the tiles' centres.
      tile_lon: degrees.
      seed: of the noise.
      noise_m: largest noise along each axis.
      window_m: half the side of the window.

    Raises:
      EvaluationError: a positive outside its window.
    """
    lat, lon = noisy_positions(query_lat, query_lon, seed=seed, noise_m=noise_m)
    query, tile = _inside(lat, lon, tile_lat, tile_lon, window_m)
    is_positive = tile == positive[query]
    lost = np.setdiff1d(np.arange(len(lat)), query[is_positive])
    if len(lost):
        raise EvaluationError(
            f"The positive tiles of {len(lost)} of {len(lat)} queries lie outside the window of +-{window_m:g} m "
            f"around the noisy position; the first is query {lost[0]}. Widen window_m or lower noise_m: the protocol "
            "searches where the tile must be."
        )
    query, tile = query[~is_positive], tile[~is_positive]
    count = np.bincount(query, minlength=len(lat))
    column = np.arange(len(query)) - np.repeat(np.cumsum(count) - count, count)
    # A second column even where no window holds a second tile: the search looks for the best of the others.
    table = np.full((len(lat), 1 + max(1, count.max())), -1, np.int32)
    table[:, 0] = positive
    table[query, 1 + column] = tile
    return table


def _inside(lat, lon, tile_lat, tile_lon, window_m) -> tuple[np.ndarray, np.ndarray]:
    """(query, tile) of every tile in every window, ascending."""
    tree = cKDTree(_on_sphere(tile_lat, tile_lon))
    queries, tiles = [], []
    for first in range(0, len(lat), 1024):  # the lists are Python's, 40 bytes a tile
        block = slice(first, first + 1024)
        # A little more than the corner of the window; the exact edge is drawn below.
        near = tree.query_ball_point(_on_sphere(lat[block], lon[block]), 1.5 * window_m, return_sorted=True)
        tile = np.concatenate([np.asarray(rows, np.int64) for rows in near])
        query = np.repeat(np.arange(len(near)) + first, [len(rows) for rows in near])
        metres = geometry.EARTH_RADIUS_M * np.pi / 180
        north = (tile_lat[tile] - lat[query]) * metres
        east = ((tile_lon[tile] - lon[query] + 180) % 360 - 180) * metres * np.cos(np.radians(lat[query]))
        inside = (np.abs(north) <= window_m) & (np.abs(east) <= window_m)
        queries.append(query[inside])
        tiles.append(tile[inside])
    return np.concatenate(queries), np.concatenate(tiles)


def _on_sphere(lat: np.ndarray, lon: np.ndarray) -> Float[np.ndarray, "points 3"]:
    """Metres from the centre of the earth, so that neighbours across the antimeridian are neighbours."""
    lat, lon = np.radians(lat), np.radians(lon)
    unit = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    return geometry.EARTH_RADIUS_M * unit
