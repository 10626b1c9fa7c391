"""Positions drawn on the globe from a seed: towns of many sizes and widths."""

from collections.abc import Callable

import numpy as np
import pytest

Positions = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="session")
def draw_photos() -> Callable[..., Positions]:
    pytest.importorskip("s2geometry", reason="the extra `geocells` is not installed")

    def draw(seed: int, photos: int, towns: int = 12) -> Positions:
        rng = np.random.default_rng(seed)
        centre = _on_the_globe(rng.normal(size=(towns, 3)))
        width = 10.0 ** rng.uniform(-6, -0.5, towns)  # of the earth's radius: metres to countries
        town = rng.choice(towns, photos, p=rng.dirichlet(np.full(towns, 0.5)))
        x, y, z = _on_the_globe(centre[town] + width[town, None] * rng.normal(size=(photos, 3))).T
        return np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))

    return draw


def _on_the_globe(points: np.ndarray) -> np.ndarray:
    return points / np.linalg.norm(points, axis=1, keepdims=True)
