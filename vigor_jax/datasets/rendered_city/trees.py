"""Trees: at most one in each cell of a grid, its canopy inside the cell, so that one look-up finds it."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from vigor_jax.datasets.rendered_city.extent import HALF, TREE_CELL, TREE_CELLS
from vigor_jax.datasets.rendered_city.hashing import between, fold, units
from vigor_jax.datasets.rendered_city.place import Place, find_road, take
from vigor_jax.datasets.rendered_city.streets import FOOTPATH, GRAVEL, PEDESTRIAN, STREET
from vigor_jax.datasets.rendered_city.style import COURT, ELL, HOUSE, PARK, PLAZA

CANOPY_BOTTOM = 2.6  # metres, above the camera: canopies are never seen below the horizon
_TREE = 31


class Tree(NamedTuple):
    """A tree as seen from a point: where its trunk stands relative to the point, and its size, in metres."""

    du: Any
    dv: Any
    radius: Any  # 0: no tree
    top: Any
    tint: Any  # [0, 1)


def pack_tree(offset_u: Any, offset_v: Any, radius: Any, top: Any, tint: Any) -> Any:
    """A cell's tree as one uint32; offsets in the cell as fractions."""

    def field(value: Any, levels: int, shift: int) -> Any:
        return jnp.clip(jnp.round(value * levels), 0, levels).astype(jnp.uint32) << shift

    return (
        field(offset_u, 63, 0) | field(offset_v, 63, 6) | field(radius / 4.0, 31, 12) | field(top / 16.0, 63, 17)
        | field(tint, 15, 23)
    )  # fmt: skip


def tree_at(region: Any, u: Any, v: Any) -> Tree:
    """The tree of the cell that holds each point."""
    side = TREE_CELLS
    x, y = (u + HALF) * (1 / TREE_CELL), (v + HALF) * (1 / TREE_CELL)
    column = jnp.clip(jnp.floor(x), 0, side - 1)
    row = jnp.clip(jnp.floor(y), 0, side - 1)
    bits = take(region.trees, column.astype(jnp.int32) * side + row.astype(jnp.int32))

    def field(shift: int, levels: int, scale: float) -> Any:
        return ((bits >> shift) & levels).astype(jnp.float32) * jnp.float32(scale / levels)

    return Tree(
        du=(column - x) * TREE_CELL + field(0, 63, TREE_CELL),
        dv=(row - y) * TREE_CELL + field(6, 63, TREE_CELL),
        radius=field(12, 31, 4.0),
        top=field(17, 63, 16.0),
        tint=field(23, 15, 1.0),
    )


def draw_trees(key: Any, column: Any, row: Any) -> tuple[Any, ...]:
    """Candidates (offset_u, offset_v as fractions, radius, top, tint, chance) of cells by absolute indices."""
    size, x, y, height, tint, chance = units(fold(key, _TREE, column, row), 6)
    radius = between(1.7, 3.5, size)
    room = radius / TREE_CELL
    return (
        between(room, 1 - room, x),
        between(room, 1 - room, y),
        radius,
        CANOPY_BOTTOM + radius * between(1.3, 2.2, height),
        tint,
        chance,
    )


def tree_chance(region: Any, place: Place, u: Any, v: Any, radius: Any) -> Any:
    """How likely a tree stands at a point: on pavements, verges and yards, never on a carriageway or in a house."""
    style, lots = region.style, region.lots
    road = find_road(place, u, v)
    look_u, look_v = place.look_u, place.look_v

    def verge(beyond: Any, look: Any) -> Any:
        # Only the strip next to the kerb, and only beside streets and green ways.
        green = (look.kind == FOOTPATH) | (look.kind == GRAVEL) | (look.kind == PEDESTRIAN)
        on_strip = (beyond > 0.4) & (beyond < jnp.where(green, 2.4, 1.6))
        return jnp.where(on_strip & (look.kind == STREET), style.street_trees, jnp.where(on_strip & green, 0.6, 0.0))

    beside = jnp.where(
        road.beyond_u < road.beyond_v,
        jnp.where(road.beyond_v > 3.0, verge(road.beyond_u, look_u), 0.0),
        jnp.where(road.beyond_u > 3.0, verge(road.beyond_v, look_v), 0.0),
    )
    kind = take(lots.kind, place.lot)
    yard = jnp.select(
        [kind == PARK, kind == HOUSE, kind == ELL, kind == PLAZA, kind == COURT],
        [0.8, style.yard_trees, 0.6 * style.yard_trees, 0.25, 0.0],
        0.08,
    )

    def clear_of(boxes: Any) -> Any:
        outside = jnp.maximum(
            jnp.maximum(take(boxes.u0, place.lot) - u, u - take(boxes.u1, place.lot)),
            jnp.maximum(take(boxes.v0, place.lot) - v, v - take(boxes.v1, place.lot)),
        )
        return (outside > 0.55 * radius) | (take(boxes.height, place.lot) == 0)

    yard = jnp.where(clear_of(lots.main) & clear_of(lots.wing), yard, 0.0)
    return jnp.where(place.in_lot, yard, beside)
