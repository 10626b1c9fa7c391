"""A city in VIGOR's folders, names and sizes for the input benchmark, of images with the statistics of photographs.

Amplitudes fall with frequency as in natural scenes (Field 1987), colours go mostly together, and there is a camera's
noise. What decoding costs depends on the number of pixels and bytes, and both are those of VIGOR's files.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from vigor_jax import geometry
from vigor_jax.config import DataConfig
from vigor_jax.datasets.image_codec import encode_jpeg, encode_png

TILE = (640, 640)  # height, width of VIGOR's files
PANORAMA = (1024, 2048)
_CITY = "Seattle"
_CONTRAST = 45.0  # standard deviation of the brightness, of 255
_SCENES = 8  # of each view; a file is one of them shifted, under noise of its own


@dataclasses.dataclass(frozen=True)
class Content:
    """How much there is to compress in the files."""

    name: str
    slope: float  # amplitudes fall with this power of the frequency
    noise: float  # standard deviation of the camera's, of 255
    quality: int  # of the panoramas' JPEG, 1 to 100


# VIGOR's tiles have some 400 to 900 kB, its panoramas some 300 to 600.
CONTENTS = (
    Content("smooth", slope=2.0, noise=1.0, quality=95),
    Content("rough", slope=1.4, noise=4.0, quality=91),
)


def write(root: Path, content: Content, tiles_per_side: int) -> dict[str, float]:
    """Writes a city of tiles_per_side ** 2 tiles, with its labels, under a root.

    Returns:
      The mean kB of a file of each view.
    """
    rng = np.random.default_rng(0)
    corner = np.array(geometry.mercator_pixel(47.6, -122.3))
    # Tiles lie half a tile apart, and each quadrant between four of them has two panoramas, as VIGOR has it.
    step = geometry.TILE_PX / 2
    grid = np.stack(np.mgrid[:tiles_per_side, :tiles_per_side], axis=-1).reshape(-1, 2)
    tile_at = np.array([geometry.mercator_position(*(corner + step * cell)) for cell in grid])
    tiles = [f"satellite_{lat!r}_{lon!r}.png" for lat, lon in tile_at.tolist()]
    panoramas, lines = [], []
    for cell in np.repeat(grid[(grid < tiles_per_side - 1).all(axis=1)], 2, axis=0):
        within = rng.uniform(0.05, 0.95, 2)
        lat, lon = geometry.mercator_position(*(corner + step * (cell + within)))
        panoramas.append(f"{len(panoramas)},{lat:.6f},{lon:.6f},.jpg")
        four = cell + np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        four = four[np.argsort(np.abs(four - cell - within).max(axis=1))]  # the positive first
        rows = four @ [tiles_per_side, 1]
        offsets = geometry.tile_offset(lat, lon, tile_at[rows, 0], tile_at[rows, 1])
        references = [f"{tiles[row]} {d0} {d1}" for row, (d0, d1) in zip(rows, offsets.tolist(), strict=True)]
        lines.append(" ".join([panoramas[-1], *references]))
    labels = root / "splits__corrected" / _CITY
    labels.mkdir(parents=True)
    (labels / "satellite_list.txt").write_text("\n".join(tiles) + "\n")
    (labels / "pano_label_balanced__corrected.txt").write_text("\n".join(lines) + "\n")
    return {
        "tile_kb": _write_images(root / _CITY / "satellite", tiles, TILE, content, encode_png),
        "panorama_kb": _write_images(
            root / _CITY / "panorama", panoramas, PANORAMA, content, lambda image: encode_jpeg(image, content.quality)
        ),
    }


def config(root: Path, data_dir: Path) -> DataConfig:
    """Where the files are read from and prepared into, at the published sizes."""
    return DataConfig(
        name="vigor", root=str(root), data_dir=str(data_dir), train_cities=(_CITY,), protocols=("cross_area",)
    )


def _write_images(
    folder: Path, names: list[str], size: tuple[int, int], content: Content, encode: Callable[[np.ndarray], bytes]
) -> float:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    scenes = [_scene(rng, size, content) for _ in range(_SCENES)]
    written = 0
    for row, name in enumerate(names):
        written += (folder / name).write_bytes(encode(_shot(rng, scenes[row % _SCENES], content)))
    return written / len(names) / 1000


def _scene(rng: np.random.Generator, size: tuple[int, int], content: Content) -> Float[np.ndarray, "height width 3"]:
    """Brightness, and half as much colour, whose amplitudes fall with the frequency."""
    height, width = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    amplitude = frequency**-content.slope
    planes = [np.fft.irfft2(np.fft.rfft2(rng.standard_normal(size)) * amplitude, size) for _ in range(4)]
    brightness, *colours = (plane / plane.std() for plane in planes)
    tinted = np.stack([brightness + 0.3 * colour for colour in colours], axis=-1)
    return (128 + _CONTRAST * tinted).astype(np.float32)


def _shot(
    rng: np.random.Generator, scene: Float[np.ndarray, "height width 3"], content: Content
) -> UInt8[np.ndarray, "height width 3"]:
    shift = rng.integers(scene.shape[:2])
    noise = rng.standard_normal((*scene.shape[:2], 1), np.float32)
    return (np.roll(scene, shift, (0, 1)) + content.noise * noise).clip(0, 255).astype(np.uint8)
