"""Where a point lies in the plan: its lines, its segments and its lot, found by table look-ups alone."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from vigor_jax.datasets.rendered_city.lots import LOTS_PER_ROW
from vigor_jax.datasets.rendered_city.streets import STREET, SegmentLook, unpack_look


def take(table: Any, index: Any) -> Any:
    """Rows of a table; the caller keeps the index within it."""
    return table.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)


class Spot(NamedTuple):
    """The rows of a region's tables that describe a point.

    The renderers find spots in a program of their own: fused with the look-ups that follow, each of some thirty
    gathers would find them anew.
    """

    line_u: Any  # index of the nearest line across u, and the signed distance from it
    line_v: Any
    du: Any
    dv: Any
    segment_u: Any  # row of the region's segment tables
    segment_v: Any
    lot: Any  # row of the region's lots


class Place(NamedTuple):
    """Everything the shading of a point needs to know about where it is; see `Spot`."""

    line_u: Any
    line_v: Any
    du: Any
    dv: Any
    segment_u: Any
    segment_v: Any
    lot: Any
    look_u: SegmentLook
    look_v: SegmentLook
    in_lot: Any  # bool: inside the lot's rectangle, thus beyond all pavements


def nearest_line(positions: Any, start: Any, spacing: Any, x: Any) -> tuple[Any, Any, Any]:
    """The cell between two lines that holds x, the nearer of the two lines, and the signed distance from it."""
    cell = jnp.floor((x - start) / spacing).astype(jnp.int32)
    cell = jnp.clip(cell, 1, positions.shape[0] - 2)
    cell = cell - (x < take(positions, cell))
    low = x - take(positions, cell)
    high = x - take(positions, cell + 1)
    nearer_high = -high < low
    return cell, cell + nearer_high, jnp.where(nearer_high, high, low)


def find_spot(region: Any, u: Any, v: Any) -> Spot:
    """Finds where the points (u, v), in metres of the region's frame, lie."""
    style = region.style
    strip, line_u, du = nearest_line(region.lines_u, region.start[0], style.strip_spacing, u)
    row, line_v, dv = nearest_line(region.lines_v, region.start[1], style.street_spacing, v)
    rows = region.lines_v.shape[0]
    segment_u = line_u * rows + row
    segment_v = line_v * region.lines_u.shape[0] + strip
    block = strip * rows + row
    slot = jnp.floor((v - take(region.block_v0, block)) * take(region.lots_per_metre, block)).astype(jnp.int32)
    slot = jnp.clip(slot, 0, take(region.block_lots, block) - 1)
    return Spot(line_u, line_v, du, dv, segment_u, segment_v, block * LOTS_PER_ROW + slot)


def describe(region: Any, spot: Spot, u: Any, v: Any) -> Place:
    """Looks up what the shading needs to know of the points (u, v) at their spots."""
    lots, lot = region.lots, spot.lot
    in_lot = (u > take(lots.u0, lot)) & (u < take(lots.u1, lot)) & (v > take(lots.v0, lot)) & (v < take(lots.v1, lot))
    look_u = unpack_look(take(region.segments_u.bits, spot.segment_u))
    look_v = unpack_look(take(region.segments_v.bits, spot.segment_v))
    return Place(*spot, look_u, look_v, in_lot)


def find_place(region: Any, u: Any, v: Any) -> Place:
    """`find_spot` and `describe` in one."""
    return describe(region, find_spot(region, u, v), u, v)


class Road(NamedTuple):
    """The carriageway under a point, if any, in its own directions: along it and across it."""

    on_u: Any  # bool: on the segment that runs along v, outside crossings
    on_v: Any  # bool: on the segment that runs along u, outside crossings
    crossing: Any  # bool: where two streets meet
    beyond_u: Any  # metres outside the carriageway of the nearest line across u, negative inside
    beyond_v: Any
    look: SegmentLook
    across: Any  # signed metres from the centre line
    along: Any  # metres, of the region's frame
    to_crossing: Any  # metres to the kerb of the street that crosses next
    crossing_ahead: Any  # kind of the pedestrian crossing at that end


def find_road(place: Place, u: Any, v: Any) -> Road:
    """Which road a point is on."""
    look_u, look_v = place.look_u, place.look_v
    beyond_u = jnp.abs(place.du) - look_u.half_width
    beyond_v = jnp.abs(place.dv) - look_v.half_width
    in_u, in_v = beyond_u < 0, beyond_v < 0
    real_u = look_u.kind == STREET
    crossing = in_u & in_v & real_u
    on_v = in_v & ~(in_u & real_u)
    on_u = in_u & ~in_v
    look = SegmentLook(*(jnp.where(on_v, b, a) for a, b in zip(look_u, look_v, strict=True)))
    across = jnp.where(on_v, place.dv, place.du)
    along = jnp.where(on_v, u, v)
    # A street across v is crossed only by streets across u; lanes merely join it.
    to_crossing = jnp.where(on_v, jnp.where(real_u, beyond_u, 99.0), beyond_v)
    past = jnp.where(on_v, place.du, place.dv) > 0
    ahead = jnp.where(past, look.crossing_low, look.crossing_high)
    return Road(on_u, on_v, crossing, beyond_u, beyond_v, look, across, along, to_crossing, ahead)
