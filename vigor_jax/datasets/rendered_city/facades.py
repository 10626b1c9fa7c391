"""Buildings from the street: where a ray meets a lot's boxes, and the windows of the face it meets."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from vigor_jax.datasets.rendered_city import palette
from vigor_jax.datasets.rendered_city.heights import Boxes, gable, gather_boxes
from vigor_jax.datasets.rendered_city.lots import CURTAIN, PUNCHED, RIBBON, SPARSE
from vigor_jax.datasets.rendered_city.marching import EYE
from vigor_jax.datasets.rendered_city.place import take
from vigor_jax.datasets.rendered_city.style import BLOCK, TOWER
from vigor_jax.datasets.rendered_city.surface import Surface, over, plain, stripes

FLOOR = 3.2  # metres


class Hit(NamedTuple):
    """Where rays meet a building."""

    t: Any  # horizontal distance, metres
    z: Any  # height above ground
    wall: Any  # bool: a wall, else a sloping roof
    box: Boxes
    faces_u: Any  # bool: the face's normal points along u, else along v
    rise: Any  # of the gable on this box
    met: Any  # bool: the ray does meet the building, not the air above or beside it


def _enter(box: Boxes, rise: Any, u0: Any, v0: Any, du: Any, dv: Any, slope: Any) -> tuple[Any, Any, Any]:
    """Slab test: distance at which a ray enters a box's outline, whether it does below the top, and which face."""
    tu0, tu1 = (box.u0 - u0) / du, (box.u1 - u0) / du
    tv0, tv1 = (box.v0 - v0) / dv, (box.v1 - v0) / dv
    enter_u, enter_v = jnp.minimum(tu0, tu1), jnp.minimum(tv0, tv1)
    enter = jnp.maximum(enter_u, enter_v)
    leave = jnp.minimum(jnp.maximum(tu0, tu1), jnp.maximum(tv0, tv1))
    below = EYE + slope * enter < box.height + rise
    return enter, (enter < leave) & (enter > 0) & below & (box.height > 0), enter_u > enter_v


def meet_building(lots: Any, lot: Any, u0: Any, v0: Any, du: Any, dv: Any, slope: Any) -> Hit:
    """The nearer of a lot's boxes that each ray meets; rays that narrowly miss both take the main box's side."""
    main, wing = gather_boxes(lots.main, lot), gather_boxes(lots.wing, lot)
    rise = take(lots.rise, lot)
    t_main, on_main, u_main = _enter(main, rise, u0, v0, du, dv, slope)
    t_wing, on_wing, u_wing = _enter(wing, 0.0, u0, v0, du, dv, slope)
    use_wing = on_wing & (~on_main | (t_wing < t_main))
    use_wing |= ~on_main & (main.height == 0)
    box = Boxes(*(jnp.where(use_wing, b, a) for a, b in zip(main, wing, strict=True)))
    t = jnp.maximum(jnp.where(use_wing, t_wing, t_main), 0.3)
    faces_u = jnp.where(use_wing, u_wing, u_main)
    rise = jnp.where(use_wing, 0.0, rise)
    z = EYE + slope * t
    top = box.height + gable(box, rise, u0 + du * (t + 0.05), v0 + dv * (t + 0.05))
    wall = z < top
    met = (on_main | on_wing) & (wall | _meets_gable(box, rise, t, u0, v0, du, dv, slope))
    return Hit(t, z, wall | (rise == 0), box, faces_u, rise, met)


def _meets_gable(box: Boxes, rise: Any, t: Any, u0: Any, v0: Any, du: Any, dv: Any, slope: Any) -> Any:
    """Whether a ray that enters above the eaves at distance t passes below the ridge."""
    half_u, half_v = 0.5 * (box.u1 - box.u0), 0.5 * (box.v1 - box.v0)
    ridge_u, ridge_v = (box.u0 + half_u - u0) / du, (box.v0 + half_v - v0) / dv
    ridge = jnp.where(half_u < half_v, ridge_u, ridge_v)
    across = jnp.where(half_u < half_v, v0 + dv * ridge - box.v0 - half_v, u0 + du * ridge - box.u0 - half_u)
    within = jnp.abs(across) < jnp.maximum(half_u, half_v)
    return (rise > 0) & (ridge > t) & within & (EYE + slope * ridge < box.height + rise)


def facade_surface(region: Any, lot: Any, hit: Hit, u: Any, v: Any, f_along: Any, f_up: Any) -> Surface:
    """The wall of a building at points (u, v, hit.z) with footprints in metres along the wall and up."""
    lots = region.lots
    bits, kind = take(lots.look, lot), take(lots.kind, lot)
    windows = (bits & 3).astype(jnp.int32)
    along = jnp.where(hit.faces_u, v - hit.box.v0, u - hit.box.u0)
    length = jnp.where(hit.faces_u, hit.box.v1 - hit.box.v0, hit.box.u1 - hit.box.u0)
    wanted = 2.3 + 0.3 * ((bits >> 4) & 7).astype(jnp.float32) + jnp.where(windows == SPARSE, 1.0, 0.0)
    pitch = length / jnp.maximum(jnp.round(length / wanted), 1)

    share_along = jnp.select([windows == PUNCHED, windows == RIBBON, windows == CURTAIN], [0.46, 0.93, 0.88], 0.36)
    share_up = jnp.select([windows == PUNCHED, windows == RIBBON, windows == CURTAIN], [0.52, 0.46, 0.84], 0.42)
    cover = stripes(along, pitch, share_along, f_along) * stripes(hit.z - 0.1, FLOOR, share_up, f_up)
    top = hit.box.height - hit.z
    cover = jnp.where((top < 0.7) | (top > hit.box.height - 0.4), 0.0, cover)

    # Shops on the ground floor of blocks, a door in houses.
    shop = ((kind == BLOCK) | (kind == TOWER)) & (hit.z < FLOOR) & ((bits >> 7) & 3 != 0)
    front = stripes(along, 2 * pitch, 0.86, f_along) * jnp.where((hit.z > 0.4) & (hit.z < 2.6), 1.0, 0.0)
    cover = jnp.where(shop, front, cover)
    door = (kind < BLOCK) & (jnp.abs(along - 0.5 * length) < 0.55) & (hit.z < 2.2)
    glass_tone = jnp.where((bits >> 9) & 1 == 0, jnp.uint32(palette.GLASS), jnp.uint32(0x3E5468))
    glass = jnp.where(door, jnp.uint32(0x4A3426), glass_tone)
    cover = jnp.where(door, 1.0, cover)
    awning = shop & (hit.z > 2.6) & ((bits >> 10) & 1 == 0)
    awnings = jnp.asarray((0x8C2F2F, 0x2F5C46, 0x2F4674, 0xB08A3A), jnp.uint32)
    paint = jnp.where(awning, take(awnings, ((bits >> 11) & 3).astype(jnp.int32)), glass)
    cover = jnp.where(awning, 1.0, 0.92 * cover)

    cornice = (top < 0.45) & (hit.rise == 0)
    shade = jnp.where(cornice, 1.12, 1.0) * (0.84 + 0.16 * jnp.clip(hit.z * 0.4, 0, 1))
    wall = Surface(take(lots.facade, lot), paint, cover, shade)
    return over(wall, ~hit.wall, plain(take(lots.roof, lot), jnp.ones_like(hit.z)))
