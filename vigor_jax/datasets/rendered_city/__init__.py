"""A deterministic world of streets and houses, seen from above and from the street: data without downloads."""

from vigor_jax.datasets.rendered_city.city import TEST_CITIES, TRAIN_CITIES, City, make_city
from vigor_jax.datasets.rendered_city.layout import CityLayout, lay_out
from vigor_jax.datasets.rendered_city.render import render_panoramas, render_tiles

__all__ = [
    "TEST_CITIES",
    "TRAIN_CITIES",
    "City",
    "CityLayout",
    "lay_out",
    "make_city",
    "render_panoramas",
    "render_tiles",
]
