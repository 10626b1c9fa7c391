"""What makes one city look unlike another: its plan, its mix of lots, its colours and its light."""

import colorsys
from typing import NamedTuple

import numpy as np

from vigor_jax.datasets.rendered_city import palette

RGB = tuple[float, float, float]

# The kinds of lots, in the order of `Style.lot_mix`.
HOUSE, BLOCK, TOWER, ELL, PARKING, COURT, PARK, PLAZA = range(8)


class Style(NamedTuple):
    """Parameters of a city, floats throughout: as a JAX pytree they are arguments, so all cities share one program."""

    strip_spacing: float  # metres between lines across u: street, alley, street, alley ...
    street_spacing: float  # metres between streets across v
    street_parity: float  # 0 or 1: whether even or odd lines across u are streets
    missing: float  # share of street segments closed to cars
    lane_mix: RGB  # cumulative shares of alley, gravel lane, footpath between the streets
    lot_mix: tuple[float, ...]  # cumulative shares of HOUSE ... PLAZA
    lots_per_row: float
    floors: float  # mean number of floors of blocks
    tower_floors: float
    hue_offset: float  # turns; a small shift of the hues that all cities draw from
    saturation: float
    facade_light: float
    roof_light: float
    pitched: float  # share of houses with a gable
    window_mix: RGB  # cumulative shares of punched, ribbon, curtain wall; the rest sparse
    street_trees: float
    yard_trees: float
    tree_hue: float
    cars: float
    yellow: float  # share of yellow centre lines
    bike: float  # share of streets with a coloured cycle lane
    court: tuple[float, float]  # which of the palette's colours the city's courts have
    plaza: tuple[float, float, float]  # the same of its squares and pedestrian streets
    lane: float  # and of its cycle lanes
    asphalt: RGB
    alley: RGB
    pavement: RGB
    grass: RGB
    gravel: RGB
    soil: RGB
    haze: RGB
    aerial_sun: tuple[float, float]  # azimuth clockwise from north, elevation; radians
    ground_sun: tuple[float, float]


def draw_style(rng: np.random.Generator, central_half: float) -> Style:
    """Draws a city's style; `central_half` is the side in metres of a tile's central half.

    Lines across u are never further apart than a central half is wide, so that nearly every tile holds a street, a
    lane or a path on which a panorama can be taken.
    """

    def rgb(hue: float, saturation: float, value: float, spread: float = 0.04) -> RGB:
        h = (hue + rng.normal(0, spread)) % 1.0
        return colorsys.hsv_to_rgb(h, float(np.clip(saturation, 0, 1)), float(np.clip(value, 0, 1)))

    def cumulative(weights: list[float], concentration: float) -> tuple[float, ...]:
        shares = rng.dirichlet(np.asarray(weights) / sum(weights) * concentration * len(weights))
        return tuple(float(s) for s in np.cumsum(shares)[:-1])

    character = rng.uniform()  # 0: suburb, 1: centre
    lots = [3.2 * (1 - character) + 0.3, 1.6 + character, 0.15 + 0.9 * character, 1.2, 0.9, 0.7, 0.8, 0.8]
    grey = rng.uniform(0.27, 0.42)
    return Style(
        strip_spacing=max(24.0, float(rng.uniform(0.86, 0.99)) * central_half),
        street_spacing=float(rng.uniform(66, 104)),
        street_parity=float(rng.integers(2)),
        missing=float(rng.uniform(0.06, 0.2)),
        lane_mix=(*cumulative([0.6, 0.2, 0.2], 6.0), 1.0),
        lot_mix=(*cumulative(lots, 8.0), 1.0),
        lots_per_row=float(rng.uniform(2.4, 4.2)),
        floors=float(2.0 + 3.0 * character + rng.uniform(0, 1)),
        tower_floors=float(8 + 8 * rng.uniform() + 6 * character),
        hue_offset=float(rng.normal(0, 0.02)),
        saturation=float(rng.uniform(0.75, 1.2)),
        facade_light=float(rng.uniform(-0.05, 0.1)),
        roof_light=float(rng.uniform(-0.14, 0.06)),
        pitched=float(rng.uniform(0.5, 1.0)),
        window_mix=cumulative([0.45, 0.2, 0.2, 0.15], 5.0),
        street_trees=float(rng.uniform(0.2, 0.6)),
        yard_trees=float(rng.uniform(0.25, 0.65)),
        tree_hue=float(rng.uniform(0.22, 0.36)),
        cars=float(rng.uniform(0.3, 0.65)),
        yellow=float(rng.choice([0.15, 0.5, 0.85])),
        bike=float(rng.uniform(0.15, 0.4)),
        court=tuple(float(n) for n in rng.choice(len(palette.COURT), 2, replace=False)),
        plaza=tuple(float(n) for n in rng.choice(len(palette.PLAZA), 3, replace=False)),
        lane=float(rng.integers(len(palette.BIKE))),
        asphalt=rgb(0.62, rng.uniform(0.0, 0.1), grey),
        alley=rgb(0.1, rng.uniform(0.02, 0.14), grey + rng.uniform(0.06, 0.16)),
        pavement=rgb(0.09, rng.uniform(0.02, 0.14), rng.uniform(0.56, 0.72)),
        grass=rgb(rng.uniform(0.2, 0.31), rng.uniform(0.38, 0.6), rng.uniform(0.38, 0.52)),
        gravel=rgb(0.1, rng.uniform(0.14, 0.3), rng.uniform(0.58, 0.72)),
        soil=rgb(0.08, rng.uniform(0.25, 0.42), rng.uniform(0.4, 0.54)),
        haze=rgb(0.58, rng.uniform(0.05, 0.16), rng.uniform(0.78, 0.9)),
        aerial_sun=(float(np.radians(rng.uniform(110, 250))), float(np.radians(rng.uniform(42, 60)))),
        ground_sun=(float(np.radians(rng.uniform(100, 260))), float(np.radians(rng.uniform(34, 56)))),
    )
