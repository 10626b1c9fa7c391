"""Where a city's tiles and panoramas lie: VIGOR's protocol on the rendered world."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from vigor_jax.datasets.rendered_city.camera_roads import beyond_camera_roads
from vigor_jax.datasets.rendered_city.city import GRID_STEP_PX, City
from vigor_jax.datasets.rendered_city.extent import CORE, GROUND
from vigor_jax.datasets.rendered_city.heights import solid_at
from vigor_jax.datasets.rendered_city.place import find_place, find_road
from vigor_jax.datasets.rendered_city.region import Region, get_region, region_index
from vigor_jax.datasets.rendered_city.streets import FOOTPATH
from vigor_jax.datasets.rendered_city.trees import tree_at

EMPTY_SHARE = 0.04  # of the interior tiles hold no panorama: VIGOR's distractors
PER_TILE = 2  # VIGOR keeps at most two panoramas a positive tile
SPACING_M = 6.0  # between panoramas
# Held out of the same-area protocol's training: of a demo's some 2,000 panoramas this leaves about 300 queries, so
# that recall is known to some 2.5 points, and does not take more from a training set that is small already.
SAME_AREA_TEST_SHARE = 0.15
_CANDIDATES = 96  # positions tried in each tile
_CHUNK = 8192


@dataclasses.dataclass(frozen=True)
class CityLayout:
    """Positions in degrees; tiles row by row from the north-west."""

    tile_lat: Float[np.ndarray, "tiles"]
    tile_lon: Float[np.ndarray, "tiles"]
    panorama_lat: Float[np.ndarray, "panoramas"]
    panorama_lon: Float[np.ndarray, "panoramas"]
    references: Int[np.ndarray, "panoramas 4"]  # the positive tile, then three semi-positives
    same_area_test: np.ndarray  # bool [panoramas]


def lay_out(city: City, tiles_per_side: int) -> CityLayout:
    """Lays a square of tiles around the city's origin and panoramas on its streets.

    Raises:
      ValueError: fewer than three tiles a side, for a positive tile needs neighbours all around.
    """
    if tiles_per_side < 3:
        raise ValueError(
            f"tiles_per_side = {tiles_per_side}: a positive tile needs a neighbour on each side, so 3 or more"
        )
    side = np.arange(tiles_per_side)
    centre = (side - (tiles_per_side - 1) / 2) * GRID_STEP_PX
    row_px, column_px = np.meshgrid(centre, centre, indexing="ij")
    tile_lat, tile_lon = city.from_px(column_px.ravel(), row_px.ravel())

    rng = np.random.default_rng([city.key, tiles_per_side])
    interior = np.stack(np.meshgrid(side[1:-1], side[1:-1], indexing="ij"), axis=-1).reshape(-1, 2)
    # Offsets from the tile's centre in pixels, (south, east); clear of the exact border of the central half.
    tried = rng.uniform(-GRID_STEP_PX / 2 + 2, GRID_STEP_PX / 2 - 2, (len(interior), _CANDIDATES, 2))
    position = centre[interior][:, None] + tried
    lat, lon = city.from_px(position[..., 1].ravel(), position[..., 0].ravel())
    standable = can_stand(city, lat, lon).reshape(len(interior), _CANDIDATES)
    empty = rng.uniform(size=len(interior)) < EMPTY_SHARE

    chosen_tile, chosen_px = [], np.empty((0, 2))
    for tile in np.flatnonzero(~empty):
        taken = 0
        for candidate in position[tile][standable[tile]]:
            apart = np.hypot(*(chosen_px[-6 * tiles_per_side :] - candidate).T) * city.metres_per_px
            if (apart >= SPACING_M).all():
                chosen_px = np.concatenate([chosen_px, candidate[None]])
                chosen_tile.append(tile)
                taken += 1
            if taken == PER_TILE:
                break

    positive = interior[chosen_tile]
    toward = np.where(chosen_px > centre[positive], 1, -1)
    corners = positive[:, None] + toward[:, None] * np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    panorama_lat, panorama_lon = city.from_px(chosen_px[:, 1], chosen_px[:, 0])
    return CityLayout(
        tile_lat=tile_lat,
        tile_lon=tile_lon,
        panorama_lat=panorama_lat,
        panorama_lon=panorama_lon,
        references=(corners[..., 0] * tiles_per_side + corners[..., 1]).astype(np.int32),
        same_area_test=rng.uniform(size=len(chosen_px)) < SAME_AREA_TEST_SHARE,
    )


def can_stand(city: City, lat: Float[np.ndarray, "n"], lon: Float[np.ndarray, "n"]) -> np.ndarray:
    """Whether a camera can stand at positions in degrees: on a road, lane or path, clear of cars, trees and walls."""
    u, v = city.to_frame(lat, lon)
    regions = np.stack(region_index(u, v), axis=-1)
    stands = np.zeros(len(u), bool)
    for index in np.unique(regions, axis=0):
        region = get_region(city, (int(index[0]), int(index[1])), 1.0)
        rows = np.flatnonzero((regions == index).all(axis=1))
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            padded = np.pad(part, (0, _CHUNK - len(part)), mode="edge")
            local = [(x[padded] - i * CORE).astype(np.float32) for x, i in zip((u, v), index, strict=True)]
            stands[part] = np.asarray(_can_stand(region, *local))[: len(part)]
    return stands


@jax.jit
def _can_stand(region: Region, u: Any, v: Any) -> Any:
    place = find_place(region, u, v)
    road = find_road(place, u, v)
    look = road.look
    parking = jnp.where(road.across > 0, look.parking_high, look.parking_low)
    free_half = look.half_width - jnp.where(parking & (look.kind != FOOTPATH), 2.6, 1.0)
    free_half = jnp.where(look.kind == FOOTPATH, 0.7, jnp.maximum(free_half, 0.7))
    stands = (road.on_u | road.on_v) & (jnp.abs(road.across) < free_half) | road.crossing
    if region.camera_roads is not None:
        stands |= beyond_camera_roads(region.camera_roads, u, v) < -1.0
    angles = np.arange(8) * (np.pi / 4)
    around = functools.reduce(
        jnp.maximum,
        (jnp.abs(solid_at(region.heights[GROUND], u + 2.6 * np.cos(a), v + 2.6 * np.sin(a))) > 2.0 for a in angles),
    )
    beside = functools.reduce(
        jnp.maximum,
        (jnp.abs(solid_at(region.heights[GROUND], u + 1.2 * np.cos(a), v + 1.2 * np.sin(a))) > 0.0 for a in angles),
    )
    tree = tree_at(region, u, v)
    clear = (tree.radius == 0) | (tree.du**2 + tree.dv**2 > 1.5**2)
    return stands & ~around & ~beside & clear
