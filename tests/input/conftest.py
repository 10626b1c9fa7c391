from collections.abc import Callable

import numpy as np
import pytest

from vigor_jax.datasets.cross_view import CrossViewData, Panoramas, Tiles
from vigor_jax.datasets.image_codec import encode_png


def grid_references(rng: np.random.Generator, side: int, count: int) -> np.ndarray:
    """Panoramas strewn over a grid of half-overlapping tiles: each refers to the four tiles around it."""
    row, column = rng.integers(0, side - 1, (2, count))
    corner = row * side + column
    return corner[:, None] + rng.permuted(np.tile([0, 1, side, side + 1], (count, 1)), axis=1)


@pytest.fixture(scope="session")
def street_grid() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """(references, city) of panoramas in cities on square grids of tiles."""

    def make(*, cities: int, side: int, per_city: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        references = [grid_references(rng, side, per_city) + city * side**2 for city in range(cities)]
        return np.concatenate(references), np.repeat(np.arange(cities), per_city)

    return make


@pytest.fixture(scope="session")
def tiny_data(street_grid: Callable) -> CrossViewData:
    """Two cities of 64 tiles and 60 panoramas; lossless 8 x 8 and 8 x 16 images of random pixels."""
    side, per_city = 8, 60
    references, city = street_grid(cities=2, side=side, per_city=per_city)
    rng = np.random.default_rng(1)
    tiles, panoramas = 2 * side**2, len(city)
    return CrossViewData(
        name="tiny",
        cities=("A", "B"),
        tiles=Tiles([f"tile_{i}.png" for i in range(tiles)], np.zeros(tiles), np.zeros(tiles), np.repeat([0, 1], 64)),
        panoramas=Panoramas(
            names=[f"panorama_{i}.png" for i in range(panoramas)],
            lat=np.zeros(panoramas),
            lon=np.zeros(panoramas),
            city=city,
            references=references,
            offset_px=np.zeros((panoramas, 4, 2)),
            same_area_test=np.zeros(panoramas, bool),
        ),
        aerial=[encode_png(rng.integers(0, 256, (8, 8, 3), np.uint8)) for _ in range(tiles)],
        ground=[encode_png(rng.integers(0, 256, (8, 16, 3), np.uint8)) for _ in range(panoramas)],
        fingerprint="tiny",
    )
