"""Roofs from above: parapets, equipment and gables."""

from typing import Any

import jax.numpy as jnp

from vigor_jax.datasets.rendered_city.heights import Boxes, gather_boxes, inside
from vigor_jax.datasets.rendered_city.light import Light, facing
from vigor_jax.datasets.rendered_city.place import take
from vigor_jax.datasets.rendered_city.surface import Surface, plain
from vigor_jax.datasets.rendered_city.texture import noise


def rim(box: Boxes, u: Any, v: Any) -> Any:
    """Metres to the nearest edge of the box, positive inside."""
    return jnp.minimum(jnp.minimum(u - box.u0, box.u1 - u), jnp.minimum(v - box.v0, box.v1 - v))


def gable_normal(box: Boxes, rise: Any, u: Any, v: Any) -> tuple[Any, Any, Any]:
    """Unit normal of a gable's slopes; up where there is no gable."""
    half_u, half_v = 0.5 * (box.u1 - box.u0), 0.5 * (box.v1 - box.v0)
    along_v = half_u < half_v
    tilt_u = jnp.where(along_v, jnp.sign(u - box.u0 - half_u) * rise / half_u, 0.0)
    tilt_v = jnp.where(along_v, 0.0, jnp.sign(v - box.v0 - half_v) * rise / half_v)
    up = 1 / jnp.sqrt(1 + tilt_u * tilt_u + tilt_v * tilt_v)
    return tilt_u * up, tilt_v * up, up


def roof_surface(region: Any, light: Light, lot: Any, u: Any, v: Any) -> tuple[Surface, Any, Any]:
    """A lot's roof over points: appearance, the share of sun by its slope, and its height (0: no roof there)."""
    lots = region.lots
    main, wing = gather_boxes(lots.main, lot), gather_boxes(lots.wing, lot)
    rise, bits = take(lots.rise, lot), take(lots.look, lot)
    on_main, on_wing = inside(main, u, v) & (main.height > 0), inside(wing, u, v) & (wing.height > 0)
    upper = on_wing & (wing.height >= jnp.where(on_main, main.height, 0.0))
    box = Boxes(*(jnp.where(upper, b, a) for a, b in zip(main, wing, strict=True)))
    gabled = (rise > 0) & ~upper
    normal = gable_normal(box, jnp.where(gabled, rise, 0.0), u, v)
    edge = rim(box, u, v)
    ell = on_main & on_wing & (main.height == wing.height)
    parapet = ~gabled & (edge < 0.45) & ~ell

    # Up to two pieces of equipment or skylights, placed by the lot's bits.
    def piece(shift: int, size: float) -> Any:
        at_u = box.u0 + (box.u1 - box.u0) * (0.22 + 0.56 * ((bits >> shift) & 7).astype(jnp.float32) * (1 / 7))
        at_v = box.v0 + (box.v1 - box.v0) * (0.22 + 0.56 * ((bits >> (shift + 3)) & 7).astype(jnp.float32) * (1 / 7))
        return jnp.maximum(jnp.abs(u - at_u), 0.8 * jnp.abs(v - at_v)) < size

    unit_a = piece(11, 1.5) & ((bits >> 17) & 1 == 0)
    unit_b = piece(18, 0.9)
    chimney = piece(20, 0.45)
    equipment = jnp.where(gabled, chimney, unit_a | unit_b)
    courses = jnp.where(gabled, 0.04 * noise(region.noise, u * 5, v * 5), 0.05 * noise(region.noise, u * 1.5, v * 1.5))
    shade = 1.0 + courses
    shade = jnp.where(parapet, 1.17, shade)
    shade = jnp.where(equipment, jnp.where((bits >> 24) & 1 == 0, 1.3, 0.7), shade)
    height = jnp.maximum(jnp.where(on_main, main.height, 0.0), jnp.where(on_wing, wing.height, 0.0))
    return plain(take(lots.roof, lot), shade), facing(light, normal), height
