"""A VIGOR of a dozen images, with real geometry and names."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vigor_jax import geometry
from vigor_jax.config import DataConfig
from vigor_jax.datasets import image_codec

CITIES = {"Chicago": (41.88, -87.68), "Seattle": (47.60, -122.31)}
ROWS, COLUMNS = 3, 4  # tiles; 320 px apart, as in VIGOR


@dataclasses.dataclass
class MiniVigor:
    """What was written where, for the tests to compare with."""

    root: Path
    # city -> tile names, panorama names in label order, [N, 4] references, [N, 4, 2] true offsets, train count
    tiles: dict[str, list[str]]
    panoramas: dict[str, list[str]]
    references: dict[str, np.ndarray]
    offsets: dict[str, np.ndarray]
    trains: dict[str, int]
    pixels: dict[str, np.ndarray]  # name -> the colour its image is filled with

    def config(self, data_dir: Path, **changes) -> DataConfig:
        settings = {
            "name": "vigor",
            "root": str(self.root),
            "data_dir": str(data_dir),
            "train_cities": ("Seattle",),
            "test_cities": ("Chicago",),
            "protocols": ("same_area", "cross_area"),
            "aerial_size": (32, 32),
            "ground_size": (32, 64),
        }
        return DataConfig(**(settings | changes))


def _city(name: str, lat: float, lon: float, rng: np.random.Generator):
    centre = np.array(geometry.mercator_pixel(lat, lon))
    grid = np.stack(np.mgrid[0:ROWS, 0:COLUMNS], -1).reshape(-1, 2) * 320.0
    tile_at = np.array([geometry.mercator_position(*(centre + at)) for at in grid])
    tiles = [f"satellite_{a!r}_{b!r}.png" for a, b in tile_at.tolist()]
    panoramas, references = [], []
    for k in range(7):
        row, column = rng.integers(0, ROWS - 1), rng.integers(0, COLUMNS - 1)
        # Within the quadrant that the four tiles around it share.
        at = np.array([row, column]) * 320 + rng.uniform(20, 300, 2)
        pano_lat, pano_lon = geometry.mercator_position(*(centre + at))
        four = [(row + a) * COLUMNS + column + b for a in (0, 1) for b in (0, 1)]
        references.append(sorted(four, key=lambda t, at=at: np.abs(grid[t] - at).max()))
        panoramas.append(f"{name[:2]}-{k}_x-Y,{pano_lat:.6f},{pano_lon:.6f},.jpg")
    return tiles, tile_at, panoramas, np.array(references)


def write_mini_vigor(
    root: Path, *, layout: str = "vigor", label_set: str = "corrected", cities: tuple[str, ...] = tuple(CITIES)
) -> MiniVigor:
    """Writes the cities under root; `layout` is "vigor" (<City>/panorama) or "by_view" (ground/<City>)."""
    mini = MiniVigor(root, {}, {}, {}, {}, {}, {})
    suffix = "__corrected.txt" if label_set == "corrected" else ".txt"
    splits = "splits__corrected" if label_set == "corrected" else "splits"
    for index, city in enumerate(cities):
        rng = np.random.default_rng(index)
        tiles, tile_at, panoramas, references = _city(city, *CITIES[city], rng)
        positions = np.array([name.rsplit(",", 3)[1:3] for name in panoramas], float)
        offsets = geometry.tile_offset(
            positions[:, :1], positions[:, 1:], tile_at[references][..., 0], tile_at[references][..., 1]
        )
        lines = []
        for name, four, delta in zip(panoramas, references, offsets, strict=True):
            published = np.round(delta) + (0 if label_set == "corrected" else 30)
            cells = [f"{tiles[t]} {d[0]} {d[1]}" for t, d in zip(four, published, strict=True)]
            lines.append(" ".join([name, *cells]))
        folder = root / splits / city
        folder.mkdir(parents=True)
        (folder / "satellite_list.txt").write_text("\n".join(tiles) + "\n")
        (folder / f"same_area_balanced_train{suffix}").write_text("\n".join(lines[:4]) + "\n")
        (folder / f"same_area_balanced_test{suffix}").write_text("\n".join(lines[4:]))  # no final newline
        if label_set == "original":
            (folder / "pano_label_balanced.txt").write_text("\n".join(lines))
        aerial = root / (f"{city}/satellite" if layout == "vigor" else f"satellite/{city}")
        ground = root / (f"{city}/panorama" if layout == "vigor" else f"ground/{city}")
        for place, names, shape, encode in (
            (aerial, tiles, (64, 64, 3), image_codec.encode_png),
            (ground, panoramas, (64, 128, 3), image_codec.encode_jpeg),
        ):
            place.mkdir(parents=True)
            for name in names:
                mini.pixels[name] = rng.integers(0, 256, 3, dtype=np.uint8)
                (place / name).write_bytes(encode(np.full(shape, mini.pixels[name], np.uint8)))
        mini.tiles[city], mini.panoramas[city] = tiles, panoramas
        mini.references[city], mini.offsets[city], mini.trains[city] = references, offsets, 4
    return mini


@pytest.fixture
def write_vigor(tmp_path) -> Callable[..., MiniVigor]:
    """Writes a mini VIGOR under tmp_path/VIGOR."""

    def write(**options) -> MiniVigor:
        return write_mini_vigor(tmp_path / "VIGOR", **options)

    return write
