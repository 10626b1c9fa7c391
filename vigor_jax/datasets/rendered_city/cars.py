"""Parked cars: along the kerbs and in the bays of parking lots, drawn anew for each view."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from vigor_jax.datasets.rendered_city import palette
from vigor_jax.datasets.rendered_city.camera_roads import beyond_camera_roads
from vigor_jax.datasets.rendered_city.hashing import fold, units
from vigor_jax.datasets.rendered_city.place import Place, Road, take
from vigor_jax.datasets.rendered_city.streets import STREET
from vigor_jax.datasets.rendered_city.style import PARKING

HALF_LENGTH = 2.15  # metres
HALF_WIDTH = 0.88
BODY_TOP, CABIN_TOP, CLEARANCE = 0.85, 1.45, 0.22
CABIN = (-1.45, 0.75)  # where the cabin stands along the car
SLOT = 6.4  # along a kerb; divides a region's core, so that slots are the same in all regions
BAY_WIDTH, BAY_DEPTH = 2.7, 5.0
_CAR = 41


class Car(NamedTuple):
    """The car nearest to a point, as seen from it."""

    exists: Any  # bool: the slot at the point is taken
    along: Any  # of the point from the car's centre, in the car's own directions, metres
    across: Any
    along_sign: Any  # -1 where `along` grows against the axis of the city frame
    across_sign: Any
    turned: Any  # bool: the car points along u, else along v
    backwards: Any  # bool
    paint: Any  # packed colour


def car_at(region: Any, place: Place, road: Road, u: Any, v: Any, view: int) -> Car:
    """The parked car of the slot or bay that holds each point."""
    lots = region.lots
    # Along the kerb: one slot each SLOT metres.
    kerb_slot = jnp.floor(road.along * (1 / SLOT))
    kerb_along = road.along - (kerb_slot + 0.5) * SLOT
    high_side = road.across > 0
    kerb_across = jnp.abs(road.across) - (road.look.half_width - 1.2)
    centre_to_crossing = jnp.minimum(road.to_crossing, 99.0) - jnp.abs(kerb_along)
    parking = jnp.where(high_side, road.look.parking_high, road.look.parking_low)
    at_kerb = (road.on_u | road.on_v) & (road.look.kind == STREET) & parking & (centre_to_crossing > 6.5)
    line = jnp.where(road.on_v, place.line_v + region.first_line[1] + 40_000, place.line_u + region.first_line[0])

    # In a parking lot: two rows of bays along its long sides.
    low_edge, high_edge = u - take(lots.u0, place.lot), take(lots.u1, place.lot) - u
    far_row = high_edge < low_edge
    edge = jnp.minimum(low_edge, high_edge)
    start = take(lots.v0, place.lot) + 0.8
    bay = jnp.floor((v - start) * (1 / BAY_WIDTH))
    bays = jnp.floor((take(lots.v1, place.lot) - 0.8 - start) * (1 / BAY_WIDTH))
    in_bay = (
        place.in_lot & (take(lots.kind, place.lot) == PARKING) & (bay >= 0) & (bay < bays) & (edge < BAY_DEPTH + 0.6)
    )

    owner = jnp.where(in_bay, take(lots.look, place.lot), line.astype(jnp.uint32))
    first_slot = jnp.where(road.on_v, region.first_slot[0], region.first_slot[1])
    slot = jnp.where(in_bay, bay, kerb_slot + first_slot).astype(jnp.int32)
    side = jnp.where(in_bay, far_row, high_side)
    h = fold(region.key + jnp.uint32(_CAR + view), owner, slot * 2 + side)
    taken, paint, shift, turn = units(h, 4)
    wobble = (shift - 0.5) * 1.2
    along = jnp.where(in_bay, edge - 0.5 - BAY_DEPTH / 2, kerb_along - wobble)
    across = jnp.where(in_bay, v - start - (bay + 0.5) * BAY_WIDTH, kerb_across)
    along_sign = jnp.where(in_bay & far_row, -1.0, 1.0)
    across_sign = jnp.where(in_bay | high_side, 1.0, -1.0)
    turned = in_bay | road.on_v
    clear = True
    if region.camera_roads is not None:
        centre_u = u - jnp.where(turned, along_sign * along, across_sign * across)
        centre_v = v - jnp.where(turned, across_sign * across, along_sign * along)
        clear = beyond_camera_roads(region.camera_roads, centre_u, centre_v) > HALF_LENGTH + 0.3
    paints = jnp.asarray(palette.CARS, jnp.uint32)
    return Car(
        exists=(in_bay | at_kerb) & (taken < region.style.cars) & clear,
        along=along,
        across=across,
        along_sign=along_sign,
        across_sign=across_sign,
        turned=turned,
        backwards=turn < 0.5,
        paint=take(paints, jnp.floor(paint * len(palette.CARS)).astype(jnp.int32)),
    )


def car_height(car: Car, margin: float = 0.0) -> Any:
    """Height of the car within `margin` of a point; 0 beside it."""
    inside = car.exists & (jnp.abs(car.along) < HALF_LENGTH + margin) & (jnp.abs(car.across) < HALF_WIDTH + margin)
    forward = jnp.where(car.backwards, -car.along, car.along)
    cabin = (forward > CABIN[0] - margin) & (forward < CABIN[1] + margin)
    return jnp.where(inside, jnp.where(cabin, CABIN_TOP, BODY_TOP), 0.0)
