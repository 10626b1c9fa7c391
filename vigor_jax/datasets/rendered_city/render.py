"""Renders batches of tiles and panoramas of a city at given positions."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from vigor_jax.datasets.rendered_city.aerial import shade_tile, tile_points
from vigor_jax.datasets.rendered_city.city import TILE_PX, City
from vigor_jax.datasets.rendered_city.extent import AERIAL, CORE, GROUND
from vigor_jax.datasets.rendered_city.light import expose
from vigor_jax.datasets.rendered_city.panorama import Sight, look_out, shade_panorama
from vigor_jax.datasets.rendered_city.place import Spot, find_spot
from vigor_jax.datasets.rendered_city.region import Region, get_region, region_index

SAMPLES = 2  # per pixel and axis: an image is rendered twice as large and averaged


def render_tiles(
    city: City, lat: Float[np.ndarray, "batch"], lon: Float[np.ndarray, "batch"], size: int
) -> UInt8[np.ndarray, "batch size size 3"]:
    """Renders the zoom-20 tiles of 640 px centred at (lat, lon) degrees, `size` pixels a side, RGB, north up."""
    side = np.float32(TILE_PX * city.metres_per_px)

    def program(region: Region, u: np.ndarray, v: np.ndarray, keys: np.ndarray) -> jax.Array:
        points = _find_tiles(region, u, v, side, size * SAMPLES)
        return _expose((_shade_tiles(region, *points, side, keys),), keys, AERIAL)

    images = np.empty((len(lat), size, size, 3), np.uint8)
    _render(city, lat, lon, size, images, program)
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
    height, width = size

    def program(region: Region, u: np.ndarray, v: np.ndarray, keys: np.ndarray) -> jax.Array:
        sights = _look_out(region, u, v, height * SAMPLES, width * SAMPLES)
        halves = _shade_panoramas(region, u, v, *sights, keys, height * SAMPLES, width * SAMPLES)
        return _expose(halves, keys, GROUND)

    images = np.empty((len(lat), height, width, 3), np.uint8)
    _render(city, lat, lon, height, images, program)
    return images


# Each image takes three programs instead of one: where XLA sees the whole, it computes again for each look-up where
# the look-up goes, and for each channel what the channels share.


@functools.partial(jax.jit, static_argnames="size")
def _find_tiles(region: Region, u: Any, v: Any, side: Any, size: int) -> tuple[Any, Any, Spot]:
    def find(u: Any, v: Any) -> tuple[Any, Any, Spot]:
        u, v = tile_points(region, u, v, side, size)
        return u, v, find_spot(region, u, v)

    return jax.vmap(find)(u, v)


@jax.jit
def _shade_tiles(region: Region, u: Any, v: Any, spot: Spot, side: Any, keys: Any) -> Any:
    return jax.vmap(lambda u, v, spot, key: shade_tile(region, u, v, spot, side, key))(u, v, spot, keys)


@functools.partial(jax.jit, static_argnames=("height", "width"))
def _look_out(region: Region, u: Any, v: Any, height: int, width: int) -> tuple[Any, Sight, Sight]:
    return jax.vmap(lambda u, v: look_out(region, u, v, height, width))(u, v)


@functools.partial(jax.jit, static_argnames=("height", "width"))
def _shade_panoramas(
    region: Region, u: Any, v: Any, trunk: Any, above: Sight, below: Sight, keys: Any, height: int, width: int
) -> tuple[Any, Any]:
    def shade(u: Any, v: Any, trunk: Any, above: Sight, below: Sight, key: Any) -> tuple[Any, Any]:
        return shade_panorama(region, u, v, trunk, above, below, key, height, width)

    return jax.vmap(shade)(u, v, trunk, above, below, keys)


@functools.partial(jax.jit, static_argnames="view")
def _expose(parts: tuple[Any, ...], keys: Any, view: int) -> Any:
    # Joined here and not where they are shaded: a fused concatenation would not be vectorised.
    return expose(jnp.concatenate(parts, axis=1), SAMPLES, view, keys)


def _render(
    city: City, lat: np.ndarray, lon: np.ndarray, height: int, images: np.ndarray, program: Callable[..., Any]
) -> None:
    """Fills `images`, region by region, in batches of one shape."""
    lat, lon = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
    u, v = city.to_frame(lat, lon)
    keys = _image_keys(city, lat, lon)
    # Some 10^5 points a call: enough to keep all cores busy, few enough to stay in their caches.
    batch = max(1, 4 * 80 * 80 // (height * height))
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
