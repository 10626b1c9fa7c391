"""A region: the tables of a kilometre of city, from which any point in it is looked up.

The world is a pure function of absolute integer indices; a region only tabulates the part that the images of a
batch can see, so that evaluating a point costs table look-ups instead of hashes. Where two regions overlap, their
tables say the same.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vigor_jax.datasets.rendered_city.camera_roads import CLEARANCE, beyond_camera_roads, camera_road_raster
from vigor_jax.datasets.rendered_city.cars import SLOT
from vigor_jax.datasets.rendered_city.city import City
from vigor_jax.datasets.rendered_city.extent import (
    AERIAL,
    CORE,
    GROUND,
    HALF,
    JITTER_U,
    JITTER_V,
    LINES_U,
    LINES_V,
    TREE_CELL,
    TREE_CELLS,
)
from vigor_jax.datasets.rendered_city.heights import Heights, height_rasters
from vigor_jax.datasets.rendered_city.lots import LOTS_PER_ROW, Lots, clear_lots, make_lots, rows_of_lots
from vigor_jax.datasets.rendered_city.place import find_place
from vigor_jax.datasets.rendered_city.streets import Segments, line_positions, make_segments, unpack_look
from vigor_jax.datasets.rendered_city.style import Style
from vigor_jax.datasets.rendered_city.texture import noise_texture
from vigor_jax.datasets.rendered_city.trees import draw_trees, pack_tree, tree_chance


class Region(NamedTuple):
    """Tables of the square [-HALF, HALF]^2 around a region's centre, in metres of the city frame."""

    key: Any  # uint32 scalar
    style: Style
    orientation: Any  # radians, from east to the u axis
    start: tuple[Any, Any]  # where the first line's cell begins, on each axis
    first_line: tuple[Any, Any]  # absolute index of the first line
    first_slot: tuple[Any, Any]  # absolute index of the parking slot that begins at the centre
    first_cell: tuple[Any, Any]  # absolute index of the first tree cell
    lines_u: Any  # [LINES_U] positions
    lines_v: Any
    segments_u: Segments
    segments_v: Segments
    block_v0: Any  # [LINES_U * LINES_V]: where a row of lots begins
    lots_per_metre: Any
    block_lots: Any
    lots: Lots
    trees: Any  # uint32, see `trees.pack_tree`
    noise: Any
    camera_roads: Any  # uint8 raster, or None
    heights: tuple[Heights, ...]  # of each view


def region_index(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which region's core holds each point of the city frame."""
    return np.floor(u / CORE + 0.5).astype(np.int64), np.floor(v / CORE + 0.5).astype(np.int64)


@functools.lru_cache(maxsize=4)
def get_region(city: City, index: tuple[int, int], texel: float) -> Region:
    """Tabulates the region of a city by its index; `texel` metres is the resolution of its height raster."""
    centre = np.asarray(index) * CORE
    spacing = np.asarray([city.style.strip_spacing, city.style.street_spacing])
    first_line = np.floor((centre - HALF) / spacing)
    start = first_line * spacing - centre
    roads = None
    if city.cameras is not None:
        points = np.stack(city.to_frame(city.cameras[:, 0], city.cameras[:, 1]), axis=-1) - centre
        roads = camera_road_raster(points)
    style = jax.tree.map(np.float32, city.style)
    return _tabulate(
        np.uint32(city.key),
        style,
        np.float32(city.orientation),
        tuple(start.astype(np.float32)),
        tuple(first_line.astype(np.int32)),
        tuple((centre / SLOT).round().astype(np.int32)),
        tuple(((centre - HALF) / TREE_CELL).round().astype(np.int32)),
        noise_texture(),
        roads,
        texel=texel,
    )


@functools.partial(jax.jit, static_argnames="texel")
def _tabulate(
    key: Any,
    style: Style,
    orientation: Any,
    start: Any,
    first_line: Any,
    first_slot: Any,
    first_cell: Any,
    noise: Any,
    roads: Any,
    *,
    texel: float,
) -> Region:
    lines_u = line_positions(key, 0, first_line[0], LINES_U, style.strip_spacing, start[0], JITTER_U)
    lines_v = line_positions(key, 1, first_line[1], LINES_V, style.street_spacing, start[1], JITTER_V)
    absolute_u = first_line[0] + jnp.arange(LINES_U)
    absolute_v = first_line[1] + jnp.arange(LINES_V)
    street_u = (absolute_u & 1) == style.street_parity.astype(jnp.int32)
    always = jnp.ones(LINES_V, bool)
    segments_u = make_segments(key, style, 0, absolute_u, absolute_v, street_u, always, always)
    # The strip of segment i of a street across v lies between lines i and i + 1.
    segments_v = make_segments(key, style, 1, absolute_v, absolute_u, always, street_u, ~street_u)

    strip, row = jnp.meshgrid(jnp.arange(LINES_U), jnp.arange(LINES_V), indexing="ij")

    def reach(segments: Segments, rows: int, line: Any, across: Any) -> Any:
        look = unpack_look(segments.bits[line * rows + across])
        return look.half_width + look.side_width

    next_strip, next_row = jnp.minimum(strip + 1, LINES_U - 1), jnp.minimum(row + 1, LINES_V - 1)
    u0 = lines_u[strip] + reach(segments_u, LINES_V, strip, row)
    u1 = lines_u[next_strip] - reach(segments_u, LINES_V, next_strip, row)
    v0 = lines_v[row] + reach(segments_v, LINES_U, row, strip)
    v1 = lines_v[next_row] - reach(segments_v, LINES_U, next_row, strip)
    count = rows_of_lots(key, style, absolute_u[strip], absolute_v[row], v1 - v0)

    place = jnp.arange(LOTS_PER_ROW)
    length = ((v1 - v0) / count)[..., None]
    low = v0[..., None] + length * place
    flat = [jnp.broadcast_to(a[..., None], low.shape).reshape(-1) for a in (absolute_u[strip], absolute_v[row], u0, u1)]
    numbers = jnp.broadcast_to(place, low.shape).reshape(-1)
    lots = make_lots(
        key, style, flat[0], flat[1], numbers, flat[2], flat[3], low.reshape(-1), (low + length).reshape(-1)
    )
    if roads is not None:
        lots = clear_lots(lots, lambda u, v: beyond_camera_roads(roads, u, v) > CLEARANCE)

    region = Region(
        key=key,
        style=style,
        orientation=orientation,
        start=start,
        first_line=first_line,
        first_slot=first_slot,
        first_cell=first_cell,
        lines_u=lines_u,
        lines_v=lines_v,
        segments_u=segments_u,
        segments_v=segments_v,
        block_v0=v0.reshape(-1),
        lots_per_metre=(count / (v1 - v0)).reshape(-1),
        block_lots=count.astype(jnp.int32).reshape(-1),
        lots=lots,
        trees=jnp.zeros(TREE_CELLS**2, jnp.uint32),
        noise=noise,
        camera_roads=roads,
        heights=(),
    )
    region = region._replace(trees=_plant(region))
    suns = {AERIAL: style.aerial_sun, GROUND: style.ground_sun}
    return region._replace(
        heights=tuple(height_rasters(region, texel, suns[view], orientation, view) for view in (AERIAL, GROUND))
    )


def _plant(region: Region) -> Any:
    column, row = jnp.meshgrid(jnp.arange(TREE_CELLS), jnp.arange(TREE_CELLS), indexing="ij")
    x, y, radius, top, tint, draw = draw_trees(region.key, region.first_cell[0] + column, region.first_cell[1] + row)
    u, v = (column + x) * TREE_CELL - HALF, (row + y) * TREE_CELL - HALF
    stands = draw < tree_chance(region, find_place(region, u, v), u, v, radius)
    if region.camera_roads is not None:
        stands &= beyond_camera_roads(region.camera_roads, u, v) > 0.5
    return jnp.where(stands, pack_tree(x, y, radius, top, tint), jnp.uint32(0)).reshape(-1)
