"""Lots between the streets: what stands on each, how high, and in which colours."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from vigor_jax.datasets.rendered_city import palette
from vigor_jax.datasets.rendered_city.hashing import between, fold, unit, units
from vigor_jax.datasets.rendered_city.style import BLOCK, COURT, ELL, HOUSE, PARK, PARKING, PLAZA, TOWER, Style

LOTS_PER_ROW = 5  # capacity of a row of lots between two streets
# Windows of a facade.
PUNCHED, RIBBON, CURTAIN, SPARSE = range(4)

_LOT, _COUNT, _SHAPE, _COLOUR, _DISTRICT = 21, 22, 23, 24, 25

# Hues that buildings have, as (share, hue in turns, saturation): rendered greys, brick, sandstone, slate, green, rose.
_HUES = (
    (0.22, 0.09, 0.06),
    (0.22, 0.035, 0.36),
    (0.2, 0.105, 0.32),
    (0.14, 0.58, 0.24),
    (0.12, 0.38, 0.2),
    (0.1, 0.96, 0.2),
)


class Boxes(NamedTuple):
    """Axis-aligned boxes that stand on the ground, [lots] each; a height of 0 means none."""

    u0: Any
    u1: Any
    v0: Any
    v1: Any
    height: Any


class Lots(NamedTuple):
    """Columns of a table with one row a lot."""

    u0: Any
    u1: Any
    v0: Any
    v1: Any
    main: Boxes
    wing: Boxes  # of an L, a podium's tower, a garage
    rise: Any  # of the main box's gable above its height, metres; 0 means flat
    kind: Any  # HOUSE ... PLAZA
    look: Any  # uint32 of random bits: windows, equipment, details
    facade: Any  # packed colours
    roof: Any
    ground: Any


def rows_of_lots(key: Any, style: Style, strip: Any, row: Any, length: Any) -> Any:
    """How many lots stand along a row of the given length, 1 to LOTS_PER_ROW."""
    wanted = length / (between(0.8, 1.25, unit(fold(key, _COUNT, strip, row))) * 78.0 / style.lots_per_row)
    return jnp.clip(jnp.round(wanted), 1, LOTS_PER_ROW)


def make_lots(key: Any, style: Style, strip: Any, row: Any, place: Any, u0: Any, u1: Any, v0: Any, v1: Any) -> Lots:
    """Draws lots from their absolute indices (strip, row, place in the row) and their rectangles, all [N]."""
    h = fold(key, _LOT, strip, row, place)
    kind_draw, side_draw, setback, gap_low, gap_high, floors, shape, cut = units(fold(h, _SHAPE), 8)
    pick, tint, light, roof_tint, roof_light, window, surface, wing_floor = units(fold(h, _COLOUR), 8)
    district = unit(fold(key, _DISTRICT, strip // 5, row // 2))

    kind = jnp.zeros_like(h, jnp.int32)
    for share in style.lot_mix[:-1]:
        kind = kind + (kind_draw >= share)
    width, length = u1 - u0, v1 - v0
    kind = jnp.where((kind == COURT) & ((width < 15) | (length < 18)), PARK, kind)
    kind = jnp.where((kind == TOWER) & (length < 18), BLOCK, kind)

    # A house stands back from the street and its neighbours, a block fills its lot.
    detached = (kind == HOUSE) | (kind == ELL)
    back = jnp.where(detached, between(2.0, 4.5, setback), between(0.25, 1.5, setback))
    low = jnp.where(detached, between(1.2, 3.0, gap_low), jnp.where(gap_low < 0.5, 0.0, 2.5 * gap_low))
    high = jnp.where(detached, between(1.2, 3.0, gap_high), jnp.where(gap_high < 0.5, 0.0, 2.5 * gap_high))
    depth = jnp.where(kind == HOUSE, jnp.minimum(width - 2 * back, between(9, 13, shape)), width - back - 0.4)
    depth = jnp.where(kind == ELL, width - 2 * back, depth)
    left = jnp.where(side_draw < 0.5, u0 + back, u1 - back - depth)
    right = left + depth

    built = kind <= ELL
    n_floors = jnp.where(
        kind == HOUSE, 1 + jnp.round(1.3 * floors), 1 + jnp.round(-jnp.log(1 - 0.97 * floors) * (style.floors - 0.5))
    )
    n_floors = jnp.where(kind == ELL, jnp.clip(n_floors, 1, 4), jnp.minimum(n_floors * (0.7 + 0.6 * district), 9))
    n_floors = jnp.maximum(jnp.floor(n_floors + 0.5), 1)
    podium = jnp.where(cut < 0.5, 1.0, 2.0)
    main_floors = jnp.where(kind == TOWER, podium, n_floors)
    main_height = jnp.where(built, main_floors * 3.2 + jnp.where(kind == HOUSE, 0.2, 1.0), 0.0)
    main = Boxes(left, right, v0 + low, v1 - high, main_height)

    # Wing: a tower on its podium, the arm of an L, a garage beside the house.
    tower_floors = jnp.maximum(jnp.round(style.tower_floors * between(0.5, 1.2, floors) * (0.7 + 0.6 * district)), 4)
    inset = 1.0 + 2.0 * shape
    wing_height = jnp.where(kind == TOWER, tower_floors * 3.2 + 1.0, jnp.where(kind == ELL, main_height, 0.0))
    arm = between(0.38, 0.55, shape)
    main_v1 = jnp.where(kind == ELL, main.v0 + arm * (main.v1 - main.v0), main.v1)
    wing_left = jnp.where(kind == ELL, jnp.where(cut < 0.5, left, right - arm * depth), left + inset)
    wing_right = jnp.where(kind == ELL, jnp.where(cut < 0.5, left + arm * depth, right), right - inset)
    wing_v0 = jnp.where(kind == ELL, main_v1 - 0.1, main.v0 + inset)
    wing_v1 = jnp.where(kind == ELL, main.v1, main.v1 - inset)
    # An L's arms swap ends, so that all four corners occur.
    flip = (kind == ELL) & (wing_floor < 0.5)
    mirrored = v0 + v1
    main = main._replace(
        v0=jnp.where(flip, mirrored - main_v1, main.v0), v1=jnp.where(flip, mirrored - main.v0, main_v1)
    )
    wing = Boxes(
        wing_left,
        wing_right,
        jnp.where(flip, mirrored - wing_v1, wing_v0),
        jnp.where(flip, mirrored - wing_v0, wing_v1),
        wing_height,
    )
    rise = jnp.where((kind == HOUSE) & (roof_light < style.pitched), between(1.6, 3.0, cut), 0.0)

    hue = jnp.zeros_like(pick)
    saturation = jnp.zeros_like(pick)
    reached = 0.0
    for share, family_hue, family_saturation in _HUES:
        chosen = pick >= reached
        hue = jnp.where(chosen, family_hue, hue)
        saturation = jnp.where(chosen, family_saturation, saturation)
        reached += share
    hue = (hue + style.hue_offset + 0.05 * (tint - 0.5)) % 1.0
    saturation = saturation * style.saturation * (0.7 + 0.6 * light)
    facade_light = jnp.clip(0.52 + style.facade_light + 0.26 * (light - 0.5), 0.25, 0.8)
    roof_lightness = jnp.clip(0.47 + style.roof_light + 0.22 * (light - 0.5) + 0.1 * (roof_tint - 0.5), 0.2, 0.75)
    facade = palette.hsl(hue, saturation, facade_light)
    roof = palette.hsl(hue, saturation * 0.9, roof_lightness)

    tone = 0.85 + 0.3 * tint
    ground = jnp.select(
        [
            kind == COURT,
            kind == PLAZA,
            kind == PARKING,
            (kind == HOUSE) & (surface < 0.75),
            kind == HOUSE,
            kind == PARK,
        ],
        [
            palette.one_of(palette.COURT, style.court, surface),
            palette.one_of(palette.PLAZA, style.plaza, surface),
            palette.code(style.asphalt, 1.05 * tone),
            palette.code(style.grass, tone),
            palette.code(style.soil, tone),
            palette.code(style.grass, 0.95 * tone),
        ],
        jnp.where(surface < 0.5, palette.code(style.pavement, 0.9 * tone), palette.code(style.gravel, 0.9 * tone)),
    )
    windows = jnp.zeros_like(kind)
    for share in style.window_mix:
        windows = windows + (window >= share)
    windows = jnp.where(kind == HOUSE, SPARSE, windows)
    look = (fold(h, 99) & jnp.uint32(0xFFFFFFFC)) | windows.astype(jnp.uint32)
    return Lots(u0, u1, v0, v1, main, wing, rise, kind, look, facade, roof, ground)


def clear_lots(lots: Lots, is_clear: Any) -> Lots:
    """Shrinks buildings to their largest half or quarter of which `is_clear(u, v)` holds, or removes them."""
    halves = np.array([(0.0, 1.0), (0.0, 0.48), (0.52, 1.0)], np.float32)
    # [parts, 4]: from where to where each part reaches, in shares of the box across u and across v.
    parts = np.array([(*a, *b) for a in halves for b in halves])
    area = (parts[:, 1] - parts[:, 0]) * (parts[:, 3] - parts[:, 2])
    grid = np.linspace(0.0, 1.0, 6, dtype=np.float32)

    def clear(boxes: Boxes) -> Boxes:
        edge = [parts[:, n, None] for n in range(4)]
        u0, u1 = between(boxes.u0, boxes.u1, edge[0]), between(boxes.u0, boxes.u1, edge[1])
        v0, v1 = between(boxes.v0, boxes.v1, edge[2]), between(boxes.v0, boxes.v1, edge[3])
        u = between(u0[..., None, None], u1[..., None, None], grid[:, None])
        v = between(v0[..., None, None], v1[..., None, None], grid)
        stands = is_clear(*jnp.broadcast_arrays(u, v)).all(axis=(-2, -1))
        chosen = jnp.argmax(jnp.where(stands, area[:, None], 0.0), axis=0)[None]
        corners = (jnp.take_along_axis(x, chosen, axis=0)[0] for x in (u0, u1, v0, v1))
        return Boxes(*corners, jnp.where(stands.any(axis=0), boxes.height, 0.0))

    main, wing = clear(lots.main), clear(lots.wing)
    return lots._replace(main=main, wing=wing, rise=jnp.where(main.height > 0, lots.rise, 0.0))
