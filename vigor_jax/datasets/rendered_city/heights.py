"""How high the world is at a point, and its raster: what the marching and the shadows look up."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vigor_jax.datasets.rendered_city.cars import car_at, car_height
from vigor_jax.datasets.rendered_city.extent import HALF
from vigor_jax.datasets.rendered_city.lots import Boxes, Lots
from vigor_jax.datasets.rendered_city.place import find_place, find_road, take
from vigor_jax.datasets.rendered_city.trees import CANOPY_BOTTOM, Tree, tree_at

_SHADOW_STEP = 0.25  # metres; resolution of the shadow heights
_SHADOW_DOUBLINGS = 6


class Heights(NamedTuple):
    """Rasters [side * side] of one view over a region, u-major."""

    solid: Any  # int16 decimetres of buildings, half a texel too large; negative for a car
    shadow: Any  # uint8 in quarter metres: up to what height the point lies in shadow


def gather_boxes(boxes: Boxes, lot: Any) -> Boxes:
    """The boxes of the given lots."""
    return Boxes(*(take(column, lot) for column in boxes))


def inside(box: Boxes, u: Any, v: Any, margin: float = 0.0) -> Any:
    """Whether points lie over a box or within `margin` of it."""
    return (u > box.u0 - margin) & (u < box.u1 + margin) & (v > box.v0 - margin) & (v < box.v1 + margin)


def gable(box: Boxes, rise: Any, u: Any, v: Any) -> Any:
    """How much a gable adds to the height of its box: the ridge runs along the longer side."""
    half_u, half_v = 0.5 * (box.u1 - box.u0), 0.5 * (box.v1 - box.v0)
    from_u, from_v = jnp.abs(u - box.u0 - half_u), jnp.abs(v - box.v0 - half_v)
    slope = jnp.where(half_u < half_v, from_u / half_u, from_v / half_v)
    return rise * jnp.clip(1 - slope, 0, 1)


def building_height(lots: Lots, lot: Any, u: Any, v: Any, margin: float = 0.0) -> Any:
    """Height in metres of what is built within `margin` of points in the given lots; 0 in the open."""
    main, wing = gather_boxes(lots.main, lot), gather_boxes(lots.wing, lot)
    rise = take(lots.rise, lot)
    height = main.height + gable(main, rise, u, v) + margin * (rise > 0)
    height = jnp.where((main.height > 0) & inside(main, u, v, margin), height, 0.0)
    return jnp.maximum(height, jnp.where(inside(wing, u, v, margin), wing.height, 0.0))


def canopy_top(tree: Tree) -> Any:
    """Height of the canopy's upper surface over a point; 0 beside the canopy."""
    r2 = (tree.du * tree.du + tree.dv * tree.dv) / jnp.maximum(tree.radius * tree.radius, 1e-6)
    centre = 0.5 * (tree.top + CANOPY_BOTTOM)
    return jnp.where(r2 < 1, centre + (tree.top - centre) * jnp.sqrt(jnp.maximum(1 - r2, 0)), 0.0)


def height_rasters(region: Any, texel: float, sun: tuple[Any, Any], orientation: Any, view: int) -> Heights:
    """Evaluates one view's heights on a grid of `texel` metres and lets the sun cast their shadows.

    `sun` is its azimuth clockwise from north and its elevation in radians; `orientation` that of the city frame.
    """
    side = int(2 * HALF / texel)
    axis = (jnp.arange(side) + 0.5) * texel - HALF

    def evaluate(u: Any) -> tuple[Any, Any]:
        u, v = jnp.broadcast_arrays(u[:, None], axis[None, :])
        place = find_place(region, u, v)
        road = find_road(place, u, v)
        building = jnp.where(place.in_lot, building_height(region.lots, place.lot, u, v), 0.0)
        car = car_at(region, place, road, u, v, view)
        # The march must not step past a corner: buildings and cars are half a texel larger on each side.
        outline = building_height(region.lots, place.lot, u, v, 0.5 * texel)
        solid = jnp.where(outline > 0, outline, -car_height(car, 0.5 * texel))
        top = jnp.maximum(jnp.maximum(building, car_height(car)), canopy_top(tree_at(region, u, v)))
        return jnp.round(solid * 10).astype(jnp.int16), top

    solid, top = jax.lax.map(evaluate, axis.reshape(-1, 36))
    solid, top = solid.reshape(side, side), top.reshape(side, side)

    azimuth, elevation = sun
    # Towards the sun, in the city frame, in texels.
    angle = jnp.pi / 2 - azimuth - orientation
    step_u, step_v = jnp.cos(angle), jnp.sin(angle)
    drop = jnp.tan(elevation) * texel
    for doubling in range(_SHADOW_DOUBLINGS + (texel < 0.75)):
        texels = 2**doubling
        shift = (-jnp.round(step_u * texels).astype(jnp.int32), -jnp.round(step_v * texels).astype(jnp.int32))
        top = jnp.maximum(top, jnp.roll(top, shift, (0, 1)) - texels * drop)
    shadow = jnp.clip(jnp.round(top / _SHADOW_STEP), 0, 255).astype(jnp.uint8)
    return Heights(solid.reshape(-1), shadow.reshape(-1))


def _raster_index(side: int, x: Any, y: Any) -> Any:
    column = jnp.clip(jnp.floor(x).astype(jnp.int32), 0, side - 1)
    row = jnp.clip(jnp.floor(y).astype(jnp.int32), 0, side - 1)
    return column * side + row


def texel_size(heights: Heights) -> float:
    """Metres."""
    return 2 * HALF / round(heights.solid.shape[0] ** 0.5)


def solid_at(heights: Heights, u: Any, v: Any) -> Any:
    """Metres of the nearest texel: positive for a building, negative for a car, 0 in the open."""
    side = round(heights.solid.shape[0] ** 0.5)
    scale = side / (2 * HALF)
    index = _raster_index(side, (u + HALF) * scale, (v + HALF) * scale)
    return take(heights.solid, index).astype(jnp.float32) * 0.1


def sunlit(heights: Heights, u: Any, v: Any, height: Any) -> Any:
    """Share of the sun that reaches points at the given height, in [0, 1]; soft over one texel."""
    side = round(heights.shadow.shape[0] ** 0.5)
    scale = side / (2 * HALF)
    x, y = (u + HALF) * scale - 0.5, (v + HALF) * scale - 0.5
    fx, fy = x - jnp.floor(x), y - jnp.floor(y)

    def lit(i: int, j: int) -> Any:
        top = take(heights.shadow, _raster_index(side, x + i, y + j)).astype(jnp.float32) * _SHADOW_STEP
        return (top <= height + 0.4).astype(jnp.float32)

    share = (lit(0, 0) * (1 - fy) + lit(0, 1) * fy) * (1 - fx) + (lit(1, 0) * (1 - fy) + lit(1, 1) * fy) * fx
    return jnp.clip(1.6 * share - 0.3, 0, 1)
