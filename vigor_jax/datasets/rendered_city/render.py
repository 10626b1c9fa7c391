"""Renders batches of tiles and panoramas of a city at given positions."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from vigor_jax.datasets.rendered_city.aerial import render_tile
from vigor_jax.datasets.rendered_city.city import TILE_PX, City
from vigor_jax.datasets.rendered_city.extent import CORE
from vigor_jax.datasets.rendered_city.panorama import render_panorama
from vigor_jax.datasets.rendered_city.region import get_region, region_index


def render_tiles(
    city: City, lat: Float[np.ndarray, "batch"], lon: Float[np.ndarray, "batch"], size: int
) -> UInt8[np.ndarray, "batch size size 3"]:
    """Renders the zoom-20 tiles of 640 px centred at (lat, lon) degrees, `size` pixels a side, RGB, north up."""
    side = np.float32(TILE_PX * city.metres_per_px)
    samples = 2 if size < 200 else 1
    images = np.empty((len(lat), size, size, 3), np.uint8)
    _render(city, lat, lon, size, images, lambda region, u, v, keys: _tiles(region, u, v, side, keys, size, samples))
    return images


def render_panoramas(
    city: City, lat: Float[np.ndarray, "batch"], lon: Float[np.ndarray, "batch"], size: tuple[int, int]
) -> UInt8[np.ndarray, "batch height width 3"]:
    """Renders 360 x 180 degree equirectangular panoramas, RGB, north in the middle column and east to its right.

    Args:
      city: what `make_city` made.
      lat: degrees, of the cameras.
      lon: degrees.
      size: (height, width) in pixels.
    """
    images = np.empty((len(lat), *size, 3), np.uint8)
    _render(city, lat, lon, size[0], images, lambda region, u, v, keys: _panoramas(region, u, v, keys, *size))
    return images


@functools.partial(jax.jit, static_argnames=("size", "samples"))
def _tiles(region: Any, u: Any, v: Any, side: Any, keys: Any, size: int, samples: int) -> Any:
    return jax.vmap(lambda u, v, key: render_tile(region, u, v, side, key, size, samples))(u, v, keys)


@functools.partial(jax.jit, static_argnames=("height", "width"))
def _panoramas(region: Any, u: Any, v: Any, keys: Any, height: int, width: int) -> Any:
    return jax.vmap(lambda u, v, key: render_panorama(region, u, v, key, height, width))(u, v, keys)


def _render(
    city: City, lat: np.ndarray, lon: np.ndarray, height: int, images: np.ndarray, program: Callable[..., Any]
) -> None:
    """Fills `images`, region by region, in batches of one shape."""
    lat, lon = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
    u, v = city.to_frame(lat, lon)
    keys = _image_keys(city, lat, lon)
    batch = max(1, 16 * 80 * 80 // (height * height))
    texel = 1.0 if height < 200 else 0.5
    regions = np.stack(region_index(u, v), axis=-1)
    for index in np.unique(regions, axis=0):
        region = get_region(city, (int(index[0]), int(index[1])), texel)
        rows = np.flatnonzero((regions == index).all(axis=1))
        local = [(x - i * CORE).astype(np.float32) for x, i in zip((u, v), index, strict=True)]
        pending = []
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            # The last batch repeats its last image, so that every call has the same shape.
            padded = np.resize(part, batch) if len(part) == batch else np.pad(part, (0, batch - len(part)), mode="edge")
            pending.append((part, program(region, local[0][padded], local[1][padded], keys[padded])))
            if len(pending) > 4:
                done, rendered = pending.pop(0)
                images[done] = np.asarray(rendered)[: len(done)]
        for done, rendered in pending:
            images[done] = np.asarray(rendered)[: len(done)]


def _image_keys(city: City, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """A uint32 for each position: to the millimetre, so that an image depends on where it is and nothing else."""
    micro = [np.round((x + 360) * 1e8).astype(np.uint64) for x in (lat, lon)]
    h = (micro[0] * np.uint64(0x9E3779B97F4A7C15)) ^ (micro[1] * np.uint64(0xC2B2AE3D27D4EB4F)) ^ np.uint64(city.key)
    h = (h ^ (h >> np.uint64(31))) * np.uint64(0xD6E8FEB86659FD93)
    return (h >> np.uint64(32)).astype(np.uint32)
