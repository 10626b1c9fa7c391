"""One small city, laid out and rendered once for all tests of the package."""

from types import SimpleNamespace

import numpy as np
import pytest

from vigor_jax.datasets.rendered_city import lay_out, make_city, render_panoramas, render_tiles

TILES_PER_SIDE = 12


@pytest.fixture(scope="session")
def small_city() -> SimpleNamespace:
    city = make_city("Testbury", 0)
    layout = lay_out(city, TILES_PER_SIDE)
    return SimpleNamespace(
        city=city,
        layout=layout,
        side=TILES_PER_SIDE,
        tiles=render_tiles(city, layout.tile_lat, layout.tile_lon, 80),
        panoramas=render_panoramas(city, layout.panorama_lat, layout.panorama_lon, (80, 160)),
    )


@pytest.fixture(scope="session")
def positions_of():
    """Degrees of points given in metres of a city's frame: the inverse of `City.to_frame`, written out."""

    def positions(city, u, v):
        cos, sin = np.cos(city.orientation), np.sin(city.orientation)
        east, north = u * cos - v * sin, u * sin + v * cos
        return city.from_px(east / city.metres_per_px, -north / city.metres_per_px)

    return positions
