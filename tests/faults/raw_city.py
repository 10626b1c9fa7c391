"""A small VIGOR root to damage: label files and images as published, of coloured noise."""

import dataclasses
from pathlib import Path

import numpy as np

from vigor_jax import geometry
from vigor_jax.datasets import image_codec

CITY = "Seattle"
_CENTRE = (47.60, -122.31)
_ROWS, _COLUMNS, _STEP_PX = 3, 4, 320.0  # of tiles, which overlap by half as VIGOR's do
_PANORAMAS, _TRAINS = 8, 5


@dataclasses.dataclass(frozen=True)
class RawCity:
    """Where its files lie."""

    root: Path
    tile_list: Path
    labels: Path  # of the training half
    tiles: tuple[Path, ...]
    panoramas: tuple[Path, ...]  # in label order

    def edit_line(self, path: Path, number: int, edit) -> str:
        """Replaces a line, counted from 1, by what `edit` makes of it; returns `FILE, line N`."""
        lines = path.read_text().split("\n")
        lines[number - 1] = edit(lines[number - 1])
        path.write_text("\n".join(lines))
        return f"{path}, line {number}"


def write(root: Path) -> RawCity:
    """Writes it."""
    rng = np.random.default_rng(0)
    origin = np.array(geometry.mercator_pixel(*_CENTRE))
    grid = np.stack(np.mgrid[0:_ROWS, 0:_COLUMNS], -1).reshape(-1, 2) * _STEP_PX
    tile_at = np.array([geometry.mercator_position(*(origin + place)) for place in grid])
    tiles = [f"satellite_{lat!r}_{lon!r}.png" for lat, lon in tile_at.tolist()]
    lines, panoramas = [], []
    for number in range(_PANORAMAS):
        row, column = rng.integers(0, _ROWS - 1), rng.integers(0, _COLUMNS - 1)
        # Within the quadrant that the four tiles around it share.
        place = np.array([row, column]) * _STEP_PX + rng.uniform(20, 300, 2)
        lat, lon = geometry.mercator_position(*(origin + place))
        around = [(row + a) * _COLUMNS + column + b for a in (0, 1) for b in (0, 1)]
        around.sort(key=lambda tile, place=place: np.abs(grid[tile] - place).max())
        name = f"Se-{number},{lat:.6f},{lon:.6f},.jpg"
        offsets = np.round(geometry.tile_offset(lat, lon, tile_at[around, 0], tile_at[around, 1]))
        cells = [f"{tiles[tile]} {down} {right}" for tile, (down, right) in zip(around, offsets, strict=True)]
        lines.append(" ".join([name, *cells]))
        panoramas.append(name)
    folder = root / "splits__corrected" / CITY
    folder.mkdir(parents=True)
    (folder / "satellite_list.txt").write_text("\n".join(tiles) + "\n")
    labels = folder / "same_area_balanced_train__corrected.txt"
    labels.write_text("\n".join(lines[:_TRAINS]) + "\n")
    (folder / "same_area_balanced_test__corrected.txt").write_text("\n".join(lines[_TRAINS:]) + "\n")
    paths = []
    for view, names, shape, encode in (
        ("satellite", tiles, (64, 64, 3), image_codec.encode_png),
        ("panorama", panoramas, (64, 128, 3), image_codec.encode_jpeg),
    ):
        place = root / CITY / view
        place.mkdir(parents=True)
        paths.append(tuple(place / name for name in names))
        for path in paths[-1]:
            path.write_bytes(encode(rng.integers(0, 256, shape, dtype=np.uint8)))
    return RawCity(root, folder / "satellite_list.txt", labels, *paths)
