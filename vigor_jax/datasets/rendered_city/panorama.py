"""The ground view: an equirectangular panorama, north in the middle column, east to its right.

A march along each column finds the first obstacle above each row's elevation; the obstacle's boxes, or the ground,
are then met exactly, so an image costs columns times distances look-ups and one shading of each pixel. Rows above
the horizon see sky, canopies and walls; rows below it see the ground, cars and walls: each half shades only that.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from vigor_jax.datasets.rendered_city import palette
from vigor_jax.datasets.rendered_city.cars import (
    BODY_TOP,
    CABIN,
    CABIN_TOP,
    CLEARANCE,
    HALF_LENGTH,
    HALF_WIDTH,
    Car,
    car_at,
)
from vigor_jax.datasets.rendered_city.extent import GROUND, SIGHT
from vigor_jax.datasets.rendered_city.facades import facade_surface, meet_building
from vigor_jax.datasets.rendered_city.ground import ground_surface
from vigor_jax.datasets.rendered_city.heights import solid_at, sunlit, texel_size
from vigor_jax.datasets.rendered_city.light import Light, draw_light, facing, illuminate
from vigor_jax.datasets.rendered_city.marching import EYE, March, first_above, march
from vigor_jax.datasets.rendered_city.place import Spot, describe, find_road, find_spot, take
from vigor_jax.datasets.rendered_city.roofs import gable_normal
from vigor_jax.datasets.rendered_city.sky import sky
from vigor_jax.datasets.rendered_city.surface import Surface, over, plain
from vigor_jax.datasets.rendered_city.texture import noise
from vigor_jax.datasets.rendered_city.trees import CANOPY_BOTTOM, tree_at

_FAR = 1e6


class Rays(NamedTuple):
    """One panorama's camera and directions; columns [W], rows [R, 1]."""

    u0: Any
    v0: Any
    du: Any  # horizontal unit vectors
    dv: Any
    above: np.ndarray  # tangent of the elevation of the rows above the horizon
    below: np.ndarray
    pixel: np.float32  # radians


class Sight(NamedTuple):
    """What the march has found for each pixel; [R, W]."""

    t_solid: Any  # distance of the first sample of a building or car that reaches the row; far if none
    other: Any  # above the horizon: the same of canopies; below it, whether the sample met a car
    solid: Spot  # the plan at that sample
    ground: Spot  # the plan where the row meets the ground, below the horizon


def make_rays(region: Any, u0: Any, v0: Any, height: int, width: int) -> Rays:
    """The rays of a camera at (u0, v0) metres of the region's frame."""
    azimuth = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    east, north = np.sin(azimuth).astype(np.float32), np.cos(azimuth).astype(np.float32)
    cos, sin = jnp.cos(region.orientation), jnp.sin(region.orientation)
    elevation = np.pi / 2 - (np.arange(height) + 0.5) / height * np.pi
    slope = np.tan(elevation).astype(np.float32)[:, None]
    upper = height // 2
    du, dv = _nonzero(east * cos + north * sin), _nonzero(north * cos - east * sin)
    return Rays(u0, v0, du, dv, slope[:upper], slope[upper:], np.float32(np.pi / height))


def look_out(region: Any, u0: Any, v0: Any, height: int, width: int) -> tuple[Any, Sight, Sight]:
    """Marches and finds what each pixel sees: the trunks' distances [W], and the sights above and below the horizon."""
    rays = make_rays(region, u0, v0, height, width)
    columns = march(region, u0, v0, rays.du, rays.dv)

    def spot(t: Any, push: Any = 0.0) -> Spot:
        t = jnp.minimum(t, SIGHT) + push
        return find_spot(region, u0 + rays.du * t, v0 + rays.dv * t)

    # A texel that reaches over a wall may lie on the lot next door; a little further on it does not.
    texel = texel_size(region.heights[GROUND])

    index = first_above(columns.solid_slope, rays.above)
    t_solid = _sample(columns, index)
    lot = spot(t_solid, texel).lot
    met = meet_building(region.lots, lot, u0, v0, rays.du, rays.dv, rays.above).met
    # Rays that just miss the first obstacle go on to the first that rises above it.
    last = columns.solid_slope.shape[1] - 1
    passed = jnp.take_along_axis(columns.solid_slope.T, jnp.minimum(index, last), axis=0)
    behind = _sample(columns, first_above(columns.solid_slope, jnp.maximum(passed, -9.0) + 1e-4))
    t_solid = jnp.where(met, t_solid, behind)
    at_solid = spot(t_solid, texel)
    t_canopy = _sample(columns, first_above(columns.canopy_slope, rays.above))
    above = Sight(t_solid, t_canopy, at_solid, at_solid)

    index = first_above(columns.solid_slope, rays.below)
    t_solid = _sample(columns, index)
    t_ground = jnp.broadcast_to(-EYE / rays.below, t_solid.shape)
    # The front of an obstacle lies between its first sample and the one before.
    met = _sample(columns, jnp.maximum(index - 1, 0)) < t_ground
    t_solid = jnp.where(met, t_solid, _FAR)
    near = jnp.minimum(t_solid, SIGHT)
    is_car = solid_at(region.heights[GROUND], u0 + rays.du * near, v0 + rays.dv * near) < 0
    at_solid = spot(t_solid, jnp.where(is_car, 0.0, texel))
    below = Sight(t_solid, is_car, at_solid, spot(t_ground))
    return columns.trunk, above, below


def shade_panorama(
    region: Any, u0: Any, v0: Any, trunk: Any, above: Sight, below: Sight, image_key: Any, height: int, width: int
) -> tuple[Any, Any]:
    """Packed colours [height / 2, width] of what `look_out` has found above and below the horizon."""
    rays = make_rays(region, u0, v0, height, width)
    light = draw_light(region, GROUND, image_key)
    # One packed output keeps XLA from computing the shared chain of operations once for each channel.
    sky_half = palette.pack(*_above_horizon(region, light, rays, above, trunk, image_key))
    street_half = palette.pack(*_below_horizon(region, light, rays, below, trunk))
    return sky_half, street_half


def _nonzero(x: Any) -> Any:
    return jnp.where(jnp.abs(x) < 1e-5, 1e-5, x)


def _hazed(region: Any, rgb: tuple[Any, Any, Any], light: Light, t: Any) -> tuple[Any, Any, Any]:
    """Distance takes contrast away."""
    share = 0.75 * jnp.clip(t / SIGHT, 0, 1)
    return tuple(
        c + (haze * (d + s) - c) * share
        for c, haze, d, s in zip(rgb, region.style.haze, light.direct, light.diffuse, strict=True)
    )


def _wall(
    region: Any, light: Light, lot: Any, u0: Any, v0: Any, du: Any, dv: Any, slope: Any, pixel: Any
) -> tuple[Surface, Any, Any]:
    """The building of a lot along rays: its surface, its share of sun, and the distance."""
    hit = meet_building(region.lots, lot, u0, v0, du, dv, slope)
    u, v = u0 + du * hit.t, v0 + dv * hit.t
    toward = jnp.where(hit.faces_u, jnp.abs(du), jnp.abs(dv))
    f_along = hit.t * pixel / jnp.maximum(toward, 0.08)
    f_up = hit.t * pixel * (1 + slope * slope)
    surface = facade_surface(region, lot, hit, u, v, f_along, f_up)
    normal_u = jnp.where(hit.faces_u, -jnp.sign(du), 0.0)
    normal_v = jnp.where(hit.faces_u, 0.0, -jnp.sign(dv))
    wall_sun = jnp.minimum(facing(light, (normal_u, normal_v, jnp.zeros_like(normal_u))), 1.25)
    slope_sun = facing(light, gable_normal(hit.box, hit.rise, u + du, v + dv))
    # Shadows are looked up a step before the wall, where its own height does not count.
    shadow = sunlit(region.heights[GROUND], u + 1.1 * normal_u, v + 1.1 * normal_v, hit.z)
    return surface, jnp.where(hit.wall, wall_sun * shadow, slope_sun), hit.t


def _canopy(
    region: Any, light: Light, t: Any, u0: Any, v0: Any, du: Any, dv: Any, slope: Any
) -> tuple[Surface, Any, Any]:
    """The canopy of the tree around the sample at distance t: surface, share of sun, distance (far if missed)."""
    tree = tree_at(region, u0 + du * t, v0 + dv * t)
    axis = t + tree.du * du + tree.dv * dv
    aside = tree.du * dv - tree.dv * du
    centre = 0.5 * (tree.top + CANOPY_BOTTOM)
    grain = noise(region.noise, aside * 9 + slope * axis * 3 + tree.tint * 97, (slope * axis - 1.3 * aside) * 7)
    radius = jnp.maximum(tree.radius * (0.93 + 0.06 * grain), 0.1)
    half = jnp.maximum(tree.top - centre, 0.1) * (0.96 + 0.04 * grain)
    a = 1 / (radius * radius) + (slope / half) ** 2
    b = -axis / (radius * radius) + slope * (EYE - centre) / (half * half)
    c = (axis * axis + aside * aside) / (radius * radius) + ((EYE - centre) / half) ** 2 - 1
    inner = b * b - a * c
    enter = (-b - jnp.sqrt(jnp.maximum(inner, 0))) / a
    met = (inner > 0) & (enter > 0.2) & (tree.radius > 0)
    # From the axis outwards, scaled to the unit sphere.
    out_u = ((enter - axis) * du - aside * dv) / radius
    out_v = ((enter - axis) * dv + aside * du) / radius
    out_z = (EYE + slope * enter - centre) / half
    sun = facing(light, (out_u, out_v, out_z)) * 0.8 + 0.1
    leaves = palette.hsl(
        region.style.tree_hue + 0.05 * (tree.tint - 0.5), jnp.full_like(out_z, 0.36), 0.25 + 0.09 * tree.tint
    )
    shade = (0.86 + 0.16 * out_z) * (1 + 0.14 * grain)
    return plain(leaves, shade), sun, jnp.where(met, enter, _FAR)


def _sample(columns: March, index: Any) -> Any:
    """Distance of the sample of this index, far beyond the last."""
    return take(jnp.asarray(np.append(columns.distances, _FAR).astype(np.float32)), index)


def _above_horizon(
    region: Any, light: Light, rays: Rays, sight: Sight, trunk: Any, image_key: Any
) -> tuple[Any, Any, Any]:
    u0, v0, du, dv, slope = rays.u0, rays.v0, rays.du, rays.dv, rays.above
    t_solid, t_canopy, lot = sight.t_solid, sight.other, sight.solid.lot
    wall, lit, t = _wall(region, light, lot, u0, v0, du, dv, slope, rays.pixel)
    t = jnp.where(t_solid < _FAR, t, _FAR)

    leaves, leaves_lit, t_leaves = _canopy(region, light, jnp.minimum(t_canopy, SIGHT), u0, v0, du, dv, slope)
    t_leaves = jnp.where(t_canopy < _FAR, t_leaves, _FAR)
    leafy = t_leaves < t
    surface, lit, t = over(wall, leafy, leaves), jnp.where(leafy, leaves_lit, lit), jnp.minimum(t, t_leaves)
    surface, lit, t = _trunk(trunk, slope, surface, lit, t)
    rgb = _hazed(region, illuminate(light, surface, lit), light, t)
    open_sky = sky(region, light, image_key, du, dv, jnp.broadcast_to(slope, t.shape))
    return tuple(jnp.where(t < _FAR, c, s) for c, s in zip(rgb, open_sky, strict=True))


def _trunk(trunk: Any, slope: Any, surface: Surface, lit: Any, t: Any) -> tuple[Surface, Any, Any]:
    """Lays the nearest trunk of each column over what lies behind it."""
    z = EYE + slope * trunk
    met = (trunk < t) & (z > 0) & (z < CANOPY_BOTTOM + 1.2)
    bark = plain(jnp.full(t.shape, 0x5C4A3A, jnp.uint32), jnp.ones_like(t))
    return over(surface, met, bark), jnp.where(met, 0.3, lit), jnp.where(met, trunk, t)


def _car(car: Car, t: Any, du: Any, dv: Any, slope: Any) -> tuple[Surface, Any, Any]:
    """The parked car around the sample at distance t: surface, share of sun, distance (far if missed)."""
    along_step = car.along_sign * jnp.where(car.turned, du, dv)
    across_step = car.across_sign * jnp.where(car.turned, dv, du)
    along0, across0 = car.along - along_step * t, car.across - across_step * t

    def meet(low: Any, high: Any, half_width: float, bottom: float, top: float) -> tuple[Any, Any]:
        a = ((low - along0) / along_step, (high - along0) / along_step)
        b = ((-half_width - across0) / across_step, (half_width - across0) / across_step)
        z = ((bottom - EYE) / slope, (top - EYE) / slope)
        enter_side = jnp.maximum(jnp.minimum(*a), jnp.minimum(*b))
        enter = jnp.maximum(enter_side, jnp.minimum(*z))
        leave = jnp.minimum(jnp.minimum(jnp.maximum(*a), jnp.maximum(*b)), jnp.maximum(*z))
        return jnp.where((enter < leave) & (enter > 0), enter, _FAR), enter > enter_side

    body, body_top = meet(-HALF_LENGTH, HALF_LENGTH, HALF_WIDTH, CLEARANCE, BODY_TOP)
    front = jnp.where(car.backwards, -CABIN[1], CABIN[0])
    cabin, cabin_top = meet(front, front + CABIN[1] - CABIN[0], HALF_WIDTH - 0.12, BODY_TOP, CABIN_TOP)
    on_cabin = cabin < body
    enter = jnp.minimum(cabin, body)
    z = EYE + slope * enter
    glass = on_cabin & ~cabin_top & (z < CABIN_TOP - 0.1)
    along = jnp.abs(along0 + along_step * enter)
    wheel = ~on_cabin & (z < 0.55) & (jnp.abs(along - 1.3) < 0.34) & ~body_top
    colour = jnp.where(glass, jnp.uint32(palette.GLASS), jnp.where(wheel, jnp.uint32(0x1C1C1E), car.paint))
    from_above = jnp.where(on_cabin, cabin_top, body_top)
    return (
        plain(colour, jnp.where(from_above, 1.05, 0.9)),
        jnp.where(from_above, 1.0, 0.45),
        jnp.where(car.exists, enter, _FAR),
    )


def _below_horizon(region: Any, light: Light, rays: Rays, sight: Sight, trunk: Any) -> tuple[Any, Any, Any]:
    u0, v0, du, dv, slope, pixel = rays.u0, rays.v0, rays.du, rays.dv, rays.below, rays.pixel
    t_ground = jnp.broadcast_to(-EYE / slope, sight.t_solid.shape)
    near_ground, t_solid = jnp.minimum(t_ground, SIGHT), jnp.minimum(sight.t_solid, SIGHT)
    met = sight.t_solid < _FAR

    # The ground.
    u, v = u0 + du * near_ground, v0 + dv * near_ground
    place = describe(region, sight.ground, u, v)
    road = find_road(place, u, v)
    radial = near_ground * near_ground * (1 / EYE) * pixel * (1 + slope * slope)
    radial = jnp.minimum(radial, 0.5 * near_ground + 0.1)
    sideways = near_ground * pixel
    f_u = jnp.abs(du) * radial + jnp.abs(dv) * sideways
    f_v = jnp.abs(dv) * radial + jnp.abs(du) * sideways
    surface = ground_surface(region, place, road, u, v, f_u, f_v)
    lit = sunlit(region.heights[GROUND], u, v, jnp.zeros_like(u))
    t = t_ground

    # What stands on it, met exactly.
    u, v = u0 + du * t_solid, v0 + dv * t_solid
    place = describe(region, sight.solid, u, v)
    wall, wall_lit, t_wall = _wall(region, light, place.lot, u0, v0, du, dv, slope, pixel)
    walled = met & ~sight.other & (t_wall < t)
    surface, lit, t = over(surface, walled, wall), jnp.where(walled, wall_lit, lit), jnp.where(walled, t_wall, t)
    car = car_at(region, place, find_road(place, u, v), u, v, GROUND)
    body, body_lit, t_car = _car(car, t_solid, du, dv, slope)
    parked = met & sight.other & (t_car < t)
    surface, lit, t = over(surface, parked, body), jnp.where(parked, body_lit, lit), jnp.where(parked, t_car, t)

    surface, lit, t = _trunk(trunk, slope, surface, lit, t)
    return _hazed(region, illuminate(light, surface, lit), light, t)
