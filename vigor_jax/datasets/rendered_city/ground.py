"""The ground: carriageways and their markings, pavements, and what covers an open lot."""

from typing import Any

import jax.numpy as jnp

from vigor_jax.datasets.rendered_city import palette
from vigor_jax.datasets.rendered_city.camera_roads import PAVEMENT, beyond_camera_roads
from vigor_jax.datasets.rendered_city.cars import BAY_DEPTH, BAY_WIDTH
from vigor_jax.datasets.rendered_city.place import Place, Road, take
from vigor_jax.datasets.rendered_city.streets import (
    COLOURED,
    DASHED_WHITE,
    DASHED_YELLOW,
    DOUBLE_YELLOW,
    NO_CROSSING,
    STREET,
    UNMARKED,
)
from vigor_jax.datasets.rendered_city.style import COURT, HOUSE, PARK, PARKING, PLAZA
from vigor_jax.datasets.rendered_city.surface import Surface, band, stripes
from vigor_jax.datasets.rendered_city.texture import noise

_KERB = 0.16  # metres


def ground_surface(region: Any, place: Place, road: Road, u: Any, v: Any, fu: Any, fv: Any) -> Surface:
    """What lies on the ground at points whose footprints measure fu by fv metres."""
    base, rough = _base(region, place, road, u, v)
    road_paint, road_cover = _markings(road, fu, fv)
    lot_paint, lot_cover = _lot_paint(region, place, u, v, fu, fv)
    cover = jnp.where(place.in_lot, lot_cover, road_cover)
    paint = jnp.where(place.in_lot, lot_paint, road_paint)
    grain = noise(region.noise, u * 6.0, v * 6.0) + noise(region.noise, u * 0.9, v * 0.9)
    shade = 1.0 + rough * grain
    if region.camera_roads is not None:
        beyond = beyond_camera_roads(region.camera_roads, u, v)
        on_road, beside = beyond < 0, beyond < PAVEMENT
        beside &= ~(road.on_u | road.on_v | road.crossing)
        asphalt = palette.code(region.style.asphalt)
        base = jnp.where(on_road, asphalt, jnp.where(beside, palette.code(region.style.pavement), base))
        edge = band(beyond + 0.4, 0.07, jnp.maximum(fu, fv))
        cover = jnp.where(on_road, edge, jnp.where(beside, 0.0, cover))
        paint = jnp.where(on_road, jnp.uint32(palette.WHITE), paint)
    return Surface(base, paint, cover, shade)


def _base(region: Any, place: Place, road: Road, u: Any, v: Any) -> tuple[Any, Any]:
    """Colour and roughness below all paint."""
    look_u, look_v = place.look_u, place.look_v
    surface_u = take(region.segments_u.surface, place.segment_u)
    surface_v = take(region.segments_v.surface, place.segment_v)
    side_u = take(region.segments_u.side, place.segment_u)
    side_v = take(region.segments_v.side, place.segment_v)

    kind = take(region.lots.kind, place.lot)
    green = (kind == HOUSE) | (kind == PARK)
    colour = take(region.lots.ground, place.lot)
    path, on_path = _lot_path(region, place, kind, u, v)
    colour = jnp.where(on_path, path, colour)
    rough = jnp.where(green & ~on_path, 0.075, 0.03)

    near_u, near_v = road.beyond_u < look_u.side_width, road.beyond_v < look_v.side_width
    colour = jnp.where(near_u, side_u, colour)
    colour = jnp.where(near_v, side_v, colour)
    rough = jnp.where(near_u | near_v, 0.03, rough)
    # A kerb is a little lighter than the pavement behind it.
    street_u, street_v = look_u.kind == STREET, look_v.kind == STREET
    kerb = ((road.beyond_u < _KERB) & street_u & (road.beyond_v > 0)) | ((road.beyond_v < _KERB) & (road.beyond_u > 0))
    colour = jnp.where(kerb, palette.code(region.style.pavement, 1.18), colour)
    # Street corners are round.
    radius = 2.5
    corner_u, corner_v = radius - road.beyond_u, radius - road.beyond_v
    rounded = (corner_u > 0) & (corner_v > 0) & (corner_u * corner_u + corner_v * corner_v > radius * radius) & street_u
    in_u, in_v = road.beyond_u < 0, (road.beyond_v < 0) | (rounded & street_v)
    colour = jnp.where(in_u, surface_u, colour)
    colour = jnp.where(in_v, surface_v, colour)
    return colour, jnp.where(in_u | in_v, 0.028, rough)


def _lot_path(region: Any, place: Place, kind: Any, u: Any, v: Any) -> tuple[Any, Any]:
    """Driveways of houses and paths of parks: their colour and where they are."""
    lots, lot = region.lots, place.lot
    bits = take(lots.look, lot)
    u0, u1, v0, v1 = (take(column, lot) for column in (lots.u0, lots.u1, lots.v0, lots.v1))
    low_side = (bits >> 4) & 1 == 0
    from_side = jnp.where(low_side, v - v0, v1 - v)
    to_street = jnp.where((bits >> 5) & 1 == 0, u - u0, u1 - u)
    driveway = (kind == HOUSE) & (from_side < 3.2) & (from_side > 0.3) & (to_street < 0.62 * (u1 - u0))
    x, y = (u - 0.5 * (u0 + u1)) / (u1 - u0), (v - 0.5 * (v0 + v1)) / (v1 - v0)
    diagonal = jnp.where((bits >> 6) & 1 == 0, x - y, x + y)
    straight = jnp.where((bits >> 7) & 1 == 0, x, y)
    crossing = jnp.where((bits >> 8) & 1 == 0, diagonal, straight)
    ring = jnp.abs(jnp.sqrt(x * x + y * y) - 0.3)
    walk = (kind == PARK) & ((jnp.abs(crossing) < 0.055) | ((ring < 0.045) & ((bits >> 9) & 1 == 0)))
    tint = jnp.where(
        driveway & ((bits >> 10) & 1 == 0), palette.code(region.style.pavement), palette.code(region.style.gravel)
    )
    return tint, driveway | walk


def _markings(road: Road, fu: Any, fv: Any) -> tuple[Any, Any]:
    """Paint on a carriageway: its colour and cover."""
    look = road.look
    across, along = road.across, road.along
    f_across, f_along = jnp.where(road.on_v, fv, fu), jnp.where(road.on_v, fu, fv)
    is_street = (look.kind == STREET) & (road.on_u | road.on_v)
    open_road = road.to_crossing > jnp.where(road.crossing_ahead == NO_CROSSING, 0.5, 4.8)

    # The centre line.
    double = look.centre == DOUBLE_YELLOW
    line = jnp.where(double, band(jnp.abs(across) - 0.2, 0.075, f_across), band(across, 0.085, f_across))
    dashed = (look.centre == DASHED_WHITE) | (look.centre == DASHED_YELLOW)
    line = line * jnp.where(dashed, stripes(along, 8.0, 0.45, f_along), 1.0)
    centre = jnp.where(open_road & (look.centre != UNMARKED), line, 0.0)
    warm = double | (look.centre == DASHED_YELLOW)
    paint = jnp.where(warm, jnp.uint32(palette.YELLOW), jnp.uint32(palette.WHITE))
    cover = centre

    # Edges of the parking lanes and a cycle lane.
    high = across > 0
    parking = jnp.where(high, look.parking_high, look.parking_low)
    edge = jnp.where(parking, band(jnp.abs(across) - (look.half_width - 2.25), 0.06, f_across), 0.0)
    edge = jnp.where(open_road, 0.8 * edge, 0.0)
    paint = jnp.where(edge > cover, jnp.uint32(palette.WHITE), paint)
    cover = jnp.maximum(cover, edge)
    colours = jnp.asarray((0, *palette.BIKE), jnp.uint32)
    has_bike = (look.bike > 0) & (high == (look.bike_side == 1)) & open_road
    lane = jnp.where(has_bike, band(jnp.abs(across) - (look.half_width - 1.0), 0.8, f_across), 0.0)
    paint = jnp.where(lane > cover, take(colours, look.bike), paint)
    cover = jnp.maximum(cover, 0.9 * lane)

    # The crossing and the stop line at the end of the segment.
    zone = band(road.to_crossing - 2.2, 1.5, f_along)
    bars = jnp.where(road.crossing_ahead == COLOURED, 1.0, stripes(across, 1.1, 0.52, f_across))
    crossing = jnp.where(road.crossing_ahead != NO_CROSSING, zone * bars, 0.0)
    stop = jnp.where(across > 0, band(road.to_crossing - 4.5, 0.2, f_along), 0.0)
    stop = jnp.where(road.crossing_ahead != NO_CROSSING, stop, 0.0)
    brick = (road.crossing_ahead == COLOURED) & (crossing > stop)
    paint = jnp.where(
        jnp.maximum(crossing, stop) > cover, jnp.where(brick, jnp.uint32(0xA05A48), jnp.uint32(palette.WHITE)), paint
    )
    cover = jnp.maximum(cover, jnp.maximum(crossing, stop))
    return paint, jnp.where(is_street, jnp.clip(cover, 0, 1), 0.0)


def _lot_paint(region: Any, place: Place, u: Any, v: Any, fu: Any, fv: Any) -> tuple[Any, Any]:
    """Paint on an open lot: bays of a parking lot, lines and surround of a court, the pattern of a plaza."""
    lots, lot = region.lots, place.lot
    kind = take(lots.kind, lot)
    bits = take(lots.look, lot)
    u0, u1, v0, v1 = (take(column, lot) for column in (lots.u0, lots.u1, lots.v0, lots.v1))
    footprint = jnp.maximum(fu, fv)

    edge_u = jnp.minimum(u - u0, u1 - u)
    bays = stripes(v - v0 - 0.8 + 0.5 * BAY_WIDTH, BAY_WIDTH, 0.045, fv)
    bays = jnp.where((edge_u > 0.5) & (edge_u < BAY_DEPTH + 0.5), 0.9 * bays, 0.0)

    x, y = u - 0.5 * (u0 + u1), v - 0.5 * (v0 + v1)
    half_x, half_y = 0.5 * (u1 - u0) - 1.6, jnp.minimum(0.5 * (v1 - v0) - 1.6, 14.0)
    rim = jnp.maximum(jnp.abs(x) - half_x, jnp.abs(y) - half_y)  # beyond the playing field
    lines = band(rim + 0.8, 0.09, footprint)
    inner = rim < -0.8
    lines = jnp.maximum(lines, jnp.where(inner, band(y, 0.08, fv), 0.0))
    circle = jnp.sqrt(x * x + y * y) - 2.4
    lines = jnp.maximum(lines, jnp.where(inner & ((bits >> 4) & 1 == 0), band(circle, 0.08, footprint), 0.0))
    service = band(jnp.abs(y) - 0.55 * half_y, 0.08, fv)
    lines = jnp.maximum(lines, jnp.where(inner & ((bits >> 4) & 1 == 1), service, 0.0))
    surround = jnp.where((bits >> 5) & 1 == 0, palette.code(region.style.grass), palette.code(region.style.pavement))
    court_paint = jnp.where(rim > 0, surround, jnp.uint32(palette.WHITE))
    court_cover = jnp.where(rim > 0, 1.0, lines)

    size = jnp.where((bits >> 6) & 1 == 0, 5.0, 8.0)
    checker = jnp.abs(stripes(u, size, 0.5, fu) - stripes(v, size, 0.5, fv))
    joints = jnp.where((bits >> 7) & 1 == 0, 0.35 * checker, 0.35 * stripes(u + v, size, 0.4, footprint))
    light = jnp.uint32(0xD8D4CA)

    paint = jnp.where(kind == COURT, court_paint, jnp.where(kind == PLAZA, light, jnp.uint32(palette.WHITE)))
    cover = jnp.where(
        kind == COURT, court_cover, jnp.where(kind == PLAZA, joints, jnp.where(kind == PARKING, bays, 0.0))
    )
    return paint, cover
