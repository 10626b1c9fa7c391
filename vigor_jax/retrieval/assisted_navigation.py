"""Search around a noisy GPS position: assisted navigation (VIGOR; the authors' evaluate_from_npy.py).

A window of +-200 m holds some 120 of a city's tiles. They are looked up on the host in float64, so that whether a tile
on the window's edge is in it does not hang on float32, and only their embeddings are gathered and scored. To mask a
search of the whole gallery would multiply VIGOR's 90,618 tiles with every query instead.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int
from scipy.spatial import cKDTree

from vigor_jax import geometry
from vigor_jax.input.randomness import fold
from vigor_jax.retrieval.errors import EvaluationError
from vigor_jax.retrieval.position import position_errors_m, summary
from vigor_jax.retrieval.ranks import TIE_TOLERANCE
from vigor_jax.retrieval.sharded_rows import (
    common_mesh,
    finite_lengths,
    in_row_order,
    pad_rows,
    place_rows,
    scores_of_rows,
)


@dataclasses.dataclass(frozen=True)
class AssistedRanks:
    """What each query finds among the tiles of its window; ties count against the positive."""

    positive: Int[np.ndarray, "queries"]  # other tiles of the window that score at least as high as the positive
    window: Int[np.ndarray, "queries"]  # tiles in the window
    top1: Int[np.ndarray, "queries"]  # row of the tile that is found; the positive only where nothing ties with it


def noisy_positions(
    lat: Float[np.ndarray, "queries"], lon: Float[np.ndarray, "queries"], *, seed: int, noise_m: float = 100.0
) -> tuple[Float[np.ndarray, "queries"], Float[np.ndarray, "queries"]]:
    """(lat, lon) in degrees, moved by uniform noise of up to `noise_m` metres along each axis.

    The noise of query i is a function of (seed, i) alone.
    """
    states = [fold(seed, "assisted navigation", query).generate_state(2, np.uint64) for query in range(len(lat))]
    noise = (np.array(states) / 2.0**64 * 2 - 1) * noise_m
    return geometry.locate(lat, lon, noise, metres_per_px=1.0)


def assisted_ranks(
    ground: Float[Array | np.ndarray, "ground_rows dim"],
    aerial: Float[Array | np.ndarray, "aerial_rows dim"],
    references: Int[Array | np.ndarray, "queries own"],
    query_lat: Float[np.ndarray, "queries"],
    query_lon: Float[np.ndarray, "queries"],
    tile_lat: Float[np.ndarray, "tiles"],
    tile_lon: Float[np.ndarray, "tiles"],
    *,
    seed: int,
    noise_m: float = 100.0,
    window_m: float = 200.0,
    query_block: int = 64,
) -> AssistedRanks:
    """Ranks each query's positive among the tiles near a noisy position of the query.

    The window is the tiles whose centre is within `window_m` metres, along each axis, of the true position moved by
    `noisy_positions`. Scores, ties and devices are as in `ranks`; beyond the embeddings a device holds `query_block`
    times the largest window of embeddings (120 MiB at the defaults, D = 4096 and windows of 120 tiles).

    Args:
      ground: embeddings of the panoramas; rows beyond len(references) are padding.
      aerial: embeddings of the tiles; rows beyond len(tile_lat) are padding.
      references: rows of `aerial`, the positive first. The others are not used.
      query_lat: degrees, the true positions.
      query_lon: degrees.
      tile_lat: degrees, of the tiles' centres.
      tile_lon: degrees.
      seed: of the noise.
      noise_m: largest noise along each axis.
      window_m: half the side of the window.
      query_block: queries scored at once, over all devices.

    Returns:
      In the order of `references`, on the host.

    Raises:
      EvaluationError: sizes that do not match, a positive that is not in its window, non-finite embeddings.
    """
    references = np.asarray(references)
    _check_shapes(ground, aerial, references, len(tile_lat))
    candidates = _candidates(
        references[:, 0],
        *noisy_positions(query_lat, query_lon, seed=seed, noise_m=noise_m),
        tile_lat,
        tile_lon,
        window_m,
    )
    mesh = common_mesh(aerial, ground)
    aerial, ground = place_rows(aerial, mesh), place_rows(ground, mesh)
    ground_lengths = finite_lengths(ground, mesh, len(references), "ground")
    aerial_lengths = finite_lengths(aerial, mesh, len(tile_lat), "aerial")
    tolerance = (TIE_TOLERANCE * aerial_lengths.max() * ground_lengths).astype(np.float32)
    found = _rank(
        ground,
        aerial,
        place_rows(pad_rows(candidates, ground.shape[0], -1), mesh),
        place_rows(pad_rows(tolerance, ground.shape[0], 0), mesh),
        mesh=mesh,
        query_block=min(-(-query_block // mesh.size), ground.shape[0] // mesh.size),
    )
    positive, top1 = in_row_order(np.asarray(found), ground.shape[0])[: len(references)].T
    return AssistedRanks(positive, (candidates >= 0).sum(axis=1), top1)


def assisted_metrics(
    found: AssistedRanks,
    query_lat: Float[np.ndarray, "queries"],
    query_lon: Float[np.ndarray, "queries"],
    tile_lat: Float[np.ndarray, "tiles"],
    tile_lon: Float[np.ndarray, "tiles"],
    offset_px: Float[np.ndarray, "queries 2"] | None = None,
    metres_per_px: float | None = None,
) -> dict[str, float]:
    """`top1` and `top5` as shares, `window` (mean tiles in it), and the `position.summary` of the tiles found.

    Args:
      found: of `assisted_ranks`.
      query_lat: degrees, the true positions.
      query_lon: degrees.
      tile_lat: degrees, of the whole gallery, as given to `assisted_ranks`.
      tile_lon: degrees.
      offset_px: predicted for each query in the tile `found.top1`; None: the tile's centre.
      metres_per_px: as of `position_errors_m`.
    """
    if offset_px is None:
        offset_px = np.zeros((len(found.top1), 2))
    errors = position_errors_m(
        query_lat, query_lon, tile_lat[found.top1], tile_lon[found.top1], offset_px, metres_per_px
    )
    return {
        "top1": float(np.mean(found.positive < 1)),
        "top5": float(np.mean(found.positive < 5)),
        "window": float(np.mean(found.window)),
        **summary(errors),
    }


def _candidates(positive, lat, lon, tile_lat, tile_lon, window_m) -> Int[np.ndarray, "queries candidates"]:
    """Rows of the tiles in each window: the positive, then the others in ascending order, then -1.

    Raises:
      EvaluationError: a positive outside its window.
    """
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
    query, tile = np.concatenate(queries), np.concatenate(tiles)
    is_positive = tile == positive[query]
    _require_positives(query[is_positive], len(lat), window_m)

    query, tile = query[~is_positive], tile[~is_positive]
    count = np.bincount(query, minlength=len(lat))
    column = np.arange(len(query)) - np.repeat(np.cumsum(count) - count, count)
    # A second column even where no window holds a second tile: the search looks for the best of the others.
    table = np.full((len(lat), 1 + max(1, count.max())), -1, np.int32)
    table[:, 0] = positive
    table[query, 1 + column] = tile
    return table


def _require_positives(found: Int[np.ndarray, "found"], queries: int, window_m: float) -> None:
    lost = np.setdiff1d(np.arange(queries), found)
    if len(lost):
        raise EvaluationError(
            f"The positive tiles of {len(lost)} of {queries} queries lie outside the window of +-{window_m:g} m around "
            f"the noisy position; the first is query {lost[0]}. Widen window_m or lower noise_m: the protocol searches "
            "where the tile must be."
        )


def _on_sphere(lat: np.ndarray, lon: np.ndarray) -> Float[np.ndarray, "points 3"]:
    """Metres from the centre of the earth, so that neighbours across the antimeridian are neighbours."""
    lat, lon = np.radians(lat), np.radians(lon)
    unit = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    return geometry.EARTH_RADIUS_M * unit


@functools.partial(jax.jit, static_argnames=("mesh", "query_block"))
def _rank(ground, aerial, candidates, tolerance, *, mesh, query_block):
    """Rank of the positive and row of the tile found, [blocks, devices, query_block, 2], replicated."""
    axes = mesh.axis_names
    rows = P(axes)

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=rows, out_specs=P())
    def rank(ground, aerial, candidates, tolerance):
        first_row = jax.lax.axis_index(axes) * aerial.shape[0]

        def found(step):
            start = jnp.minimum(step * query_block, ground.shape[0] - query_block)
            queries, near, slack = (
                jax.lax.all_gather(
                    jax.lax.dynamic_slice_in_dim(x, start, query_block), axes, tiled=True, to="invarying"
                )
                for x in (ground, candidates, tolerance)
            )
            local = jnp.where(near >= 0, near - first_row, -1)
            scores = scores_of_rows(queries.astype(jnp.float32), aerial, local, axes)
            positive, others = scores[:, 0], scores[:, 1:]
            above = jnp.sum(others >= (positive - slack)[:, None], axis=1)
            best_other = jnp.take_along_axis(near[:, 1:], jnp.argmax(others, axis=1)[:, None], axis=1)[:, 0]
            top1 = jnp.where(above > 0, best_other, near[:, 0])
            return jnp.stack([above, top1], axis=1).reshape(mesh.size, query_block, 2)

        return jax.lax.map(found, jnp.arange(-(-ground.shape[0] // query_block)))

    return rank(ground, aerial, candidates, tolerance)


def _check_shapes(ground, aerial, references, num_tiles: int) -> None:
    if references.ndim != 2 or not references.size:
        raise EvaluationError(f"references are {references.shape}: expected [queries, own].")
    if len(references) > ground.shape[0]:
        raise EvaluationError(
            f"{len(references)} queries have references but only {ground.shape[0]} have an embedding."
        )
    if num_tiles > aerial.shape[0]:
        raise EvaluationError(f"{num_tiles} tiles have a position but only {aerial.shape[0]} have an embedding.")
    outside = np.flatnonzero((references[:, 0] < 0) | (references[:, 0] >= num_tiles))
    if len(outside):
        raise EvaluationError(
            f"{len(outside)} queries name a positive that has no position; the first is query {outside[0]} with tile "
            f"{references[outside[0], 0]} of 0..{num_tiles - 1}."
        )
