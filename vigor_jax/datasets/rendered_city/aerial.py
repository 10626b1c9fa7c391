"""The aerial view: a tile seen straight down, orthographic, north up."""

from typing import Any

import jax.numpy as jnp

from vigor_jax.datasets.rendered_city import palette
from vigor_jax.datasets.rendered_city.cars import CABIN, HALF_LENGTH, HALF_WIDTH, Car, car_at
from vigor_jax.datasets.rendered_city.extent import AERIAL
from vigor_jax.datasets.rendered_city.ground import ground_surface
from vigor_jax.datasets.rendered_city.heights import sunlit
from vigor_jax.datasets.rendered_city.light import draw_light, facing, illuminate
from vigor_jax.datasets.rendered_city.place import Spot, describe, find_road
from vigor_jax.datasets.rendered_city.roofs import roof_surface
from vigor_jax.datasets.rendered_city.surface import Surface, over, plain
from vigor_jax.datasets.rendered_city.texture import noise
from vigor_jax.datasets.rendered_city.trees import CANOPY_BOTTOM, tree_at


def car_from_above(car: Car) -> tuple[Surface, Any]:
    """A parked car's paint and glass, and where it covers the ground."""
    covers = car.exists & (jnp.abs(car.along) < HALF_LENGTH) & (jnp.abs(car.across) < HALF_WIDTH)
    forward = jnp.where(car.backwards, -car.along, car.along)
    screen = (forward > CABIN[0]) & (forward < CABIN[1])
    top = (forward > CABIN[0] + 0.45) & (forward < CABIN[1] - 0.55) & (jnp.abs(car.across) < HALF_WIDTH - 0.16)
    glass = screen & ~top
    colour = jnp.where(glass, jnp.uint32(palette.GLASS), car.paint)
    shade = jnp.where(top, 1.08, jnp.where(jnp.abs(car.across) > HALF_WIDTH - 0.12, 0.8, 1.0))
    return plain(colour, shade), covers


def tile_points(region: Any, u0: Any, v0: Any, side: Any, size: int) -> tuple[Any, Any]:
    """The points (u, v) [size, size] of a tile of `side` metres centred at (u0, v0), all in the region's frame."""
    axis = (jnp.arange(size) + 0.5) * (side / size) - 0.5 * side
    east, north = jnp.broadcast_arrays(axis[None, :], -axis[:, None])
    cos, sin = jnp.cos(region.orientation), jnp.sin(region.orientation)
    return u0 + east * cos + north * sin, v0 + north * cos - east * sin


def shade_tile(region: Any, u: Any, v: Any, spot: Spot, side: Any, image_key: Any) -> Any:
    """Packed colours of a tile's points; `image_key` (uint32) decides the exposure."""
    cos, sin = jnp.cos(region.orientation), jnp.sin(region.orientation)
    footprint = jnp.full_like(u, 1.0) * (side / u.shape[-1]) * (jnp.abs(cos) + jnp.abs(sin))
    light = draw_light(region, AERIAL, image_key)
    place = describe(region, spot, u, v)
    road = find_road(place, u, v)
    surface = ground_surface(region, place, road, u, v, footprint, footprint)
    lit = jnp.ones_like(u)
    height = jnp.zeros_like(u)

    car, covers = car_from_above(car_at(region, place, road, u, v, AERIAL))
    surface = over(surface, covers, car)
    roof, slope, top = roof_surface(region, light, place.lot, u, v)
    roofed = place.in_lot & (top > 0)
    surface = over(surface, roofed, roof)
    lit = jnp.where(roofed, slope, lit)
    height = jnp.where(roofed, top, jnp.where(covers, 1.2, height))

    tree = tree_at(region, u, v)
    grain = noise(region.noise, u * 5 + tree.tint * 64, v * 5)
    ragged = tree.radius * (0.93 + 0.07 * grain)
    reach = jnp.sqrt(tree.du * tree.du + tree.dv * tree.dv)
    leafy = (reach < ragged) & (tree.radius > 0) & (tree.top > height)
    across = jnp.clip(reach / jnp.maximum(tree.radius, 0.1), 0, 1)
    bulge = 0.65 * across / jnp.maximum(reach, 1e-3)
    normal = (-tree.du * bulge, -tree.dv * bulge, jnp.sqrt(jnp.maximum(1 - 0.4225 * across * across, 0.05)))
    leaves = palette.hsl(
        region.style.tree_hue + 0.05 * (tree.tint - 0.5), jnp.full_like(u, 0.36), 0.25 + 0.09 * tree.tint
    )
    surface = over(surface, leafy, plain(leaves, 1.0 + 0.13 * grain))
    lit = jnp.where(leafy, facing(light, normal), lit)
    height = jnp.where(leafy, 0.5 * (tree.top + CANOPY_BOTTOM) + 2.0, height)

    lit = lit * sunlit(region.heights[AERIAL], u, v, height)
    return palette.pack(*illuminate(light, surface, lit))
