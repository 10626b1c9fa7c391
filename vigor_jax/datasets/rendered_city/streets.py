"""The street plan: jittered lines across both axes of the city frame and what runs along each of their segments."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from vigor_jax.datasets.rendered_city import palette
from vigor_jax.datasets.rendered_city.hashing import between, fold, unit, units
from vigor_jax.datasets.rendered_city.style import Style

# Kinds of a segment.
STREET, ALLEY, PEDESTRIAN, FOOTPATH, GRAVEL = range(5)
# Centre lines of a street.
UNMARKED, DASHED_WHITE, SOLID_WHITE, DOUBLE_YELLOW, DASHED_YELLOW = range(5)
# Crossings at a segment's end.
NO_CROSSING, ZEBRA, COLOURED = range(3)

_HALF_WIDTH_STEP = 0.125  # metres; the packed resolution of widths

# Salts, one an idea, so that no two draws share a hash.
_LINE, _LINE_STYLE, _SEGMENT = 11, 12, 13


class Segments(NamedTuple):
    """Columns of a table with one row a segment: [lines * rows], line-major."""

    bits: Any  # uint32: `SegmentLook` packed
    surface: Any  # packed colour of the carriageway, lane or path
    side: Any  # packed colour of the strip beside it


class SegmentLook(NamedTuple):
    """What is decoded from `Segments.bits`."""

    half_width: Any  # metres, of the carriageway
    side_width: Any  # metres, of the pavement or verge on each side
    kind: Any
    centre: Any
    bike: Any  # 0: none, else 1 + index of the cycle lane's colour
    bike_side: Any  # 1: on the positive side
    parking_low: Any  # bool: parked cars at the negative side's kerb
    parking_high: Any
    crossing_low: Any  # at the end with the smaller coordinate
    crossing_high: Any


def pack_look(look: SegmentLook) -> Any:
    """A segment's look as one uint32."""

    def field(value: Any, shift: int) -> Any:
        return jnp.asarray(value).astype(jnp.uint32) << shift

    return (
        field(jnp.round(look.half_width / _HALF_WIDTH_STEP), 0)
        | field(jnp.round(look.side_width / _HALF_WIDTH_STEP), 6)
        | field(look.kind, 11)
        | field(look.centre, 14)
        | field(look.bike, 17)
        | field(look.bike_side, 19)
        | field(look.parking_low, 20)
        | field(look.parking_high, 21)
        | field(look.crossing_low, 22)
        | field(look.crossing_high, 24)
    )


def unpack_look(bits: Any) -> SegmentLook:
    """The inverse of `pack_look`."""

    def field(shift: int, mask: int) -> Any:
        return ((bits >> shift) & mask).astype(jnp.int32)

    return SegmentLook(
        half_width=field(0, 63).astype(jnp.float32) * _HALF_WIDTH_STEP,
        side_width=field(6, 31).astype(jnp.float32) * _HALF_WIDTH_STEP,
        kind=field(11, 7),
        centre=field(14, 7),
        bike=field(17, 3),
        bike_side=field(19, 1),
        parking_low=field(20, 1) == 1,
        parking_high=field(21, 1) == 1,
        crossing_low=field(22, 3),
        crossing_high=field(24, 3),
    )


def line_positions(key: Any, axis: int, first: Any, count: int, spacing: Any, start: Any, jitter: float) -> Any:
    """Where `count` lines lie, in the region's metres: each stays within its own cell.

    `first` is the absolute index of the first line, `start` where its cell begins, `jitter` (at most 1) the share of
    a cell in which its line may lie.
    """
    n = jnp.arange(count)
    offset = (unit(fold(key, _LINE, axis, first + n)) - 0.5) * jitter
    return start + (n + 0.5 + offset) * spacing


def make_segments(
    key: Any, style: Style, axis: int, lines: Any, rows: Any, is_street: Any, crosses_low: Any, crosses_high: Any
) -> Segments:
    """Draws every segment of one axis: 0 for lines across u, 1 for lines across v.

    `lines` [L] and `rows` [R] are the absolute indices of the lines and of the rows that cut them into segments;
    `is_street` [L] tells streets from lanes; `crosses_low` and `crosses_high` [R] whether a segment ends at a street
    there.
    """
    line, row = jnp.meshgrid(lines, rows, indexing="ij")
    street = jnp.broadcast_to(is_street[:, None], line.shape)
    # The look of a street belongs to the whole line, what is closed or crossed to the segment.
    width, centre, yellow, bike, bike_side, parking, side = units(fold(key, _LINE_STYLE, axis, line), 7)
    closed, low, high, lane, lane_width, lane_tone, surface, verge = units(fold(key, _SEGMENT, axis, line, row), 8)

    closed_to_cars = street & (closed < style.missing) & (axis == 0)
    lane_kind = jnp.where(lane < style.lane_mix[0], ALLEY, jnp.where(lane < style.lane_mix[1], GRAVEL, FOOTPATH))
    closed_kind = jnp.where(closed < 0.65 * style.missing, PEDESTRIAN, FOOTPATH)
    kind = jnp.where(closed_to_cars, closed_kind, jnp.where(street, STREET, lane_kind))

    broad = between(4.6, 6.0, width) if axis == 0 else jnp.where(width < 0.3, 7.0, between(4.6, 6.2, width))
    half_width = jnp.select(
        [kind == STREET, kind == PEDESTRIAN, kind == FOOTPATH], [broad, 3.4 + lane_width, 1.25 + 0.4 * lane_width], 0.0
    )
    half_width = jnp.where(half_width == 0, 2.1 + 0.7 * lane_width, half_width)
    side_width = jnp.select(
        [kind == STREET, kind == FOOTPATH, kind == PEDESTRIAN], [between(1.75, 3.0, side), 2.0, 0.75], 0.375
    )

    white = jnp.where(centre < 0.55, DASHED_WHITE, SOLID_WHITE)
    warm = jnp.where(centre < 0.55, DOUBLE_YELLOW, DASHED_YELLOW)
    marked = jnp.where(yellow < style.yellow, warm, white)
    has_bike = bike < style.bike
    has_low = street & jnp.broadcast_to(crosses_low[None], line.shape)
    has_high = street & jnp.broadcast_to(crosses_high[None], line.shape)

    def crossing(draw: Any, exists: Any) -> Any:
        return jnp.where(exists, jnp.where(draw < 0.5, ZEBRA, jnp.where(draw < 0.68, COLOURED, NO_CROSSING)), 0)

    look = SegmentLook(
        half_width=half_width,
        side_width=side_width,
        kind=kind,
        centre=jnp.where(centre > 0.9, UNMARKED, marked),
        bike=jnp.where(has_bike, 1 + style.lane, 0),
        bike_side=bike_side < 0.5,
        parking_low=(parking < 0.7) & ~(has_bike & (bike_side >= 0.5)),
        parking_high=(parking > 0.2) & ~(has_bike & (bike_side < 0.5)),
        crossing_low=crossing(low, has_low),
        crossing_high=crossing(high, has_high),
    )
    paving = palette.one_of(palette.PLAZA, style.plaza, surface)
    tone = 0.88 + 0.24 * lane_tone
    surfaces = jnp.select(
        [kind == STREET, kind == ALLEY, kind == PEDESTRIAN],
        [
            palette.code(style.asphalt, 0.86 + 0.3 * width),
            palette.code(style.alley, tone),
            paving,
        ],
        palette.code(style.gravel, tone),
    )
    grassy = (kind == FOOTPATH) | ((kind == GRAVEL) & (verge < 0.5))
    sides = jnp.where(grassy, palette.code(style.grass), palette.code(style.pavement, 0.94 + 0.12 * side))
    return Segments(*(a.reshape(-1) for a in (pack_look(look), surfaces, sides)))
