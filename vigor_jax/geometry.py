"""Where a panorama lies on a tile: Web Mercator pixels, overlap of tiles, distances on the globe.

Conventions (VIGOR, Zhu, Yang, Chen, CVPR 2021): an offset is (d0, d1) in pixels of the 640 px tile, such that the
panorama lies at row 320 + d0, column 320 - d1 of the tile. So d0 < 0: north of the tile's centre; d1 < 0: east of it.
Latitudes and longitudes are degrees of WGS84; everything is float64.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

ZOOM = 20  # of VIGOR's tiles
TILE_PX = 640  # side of a tile as downloaded; its ground extent is 640 pixels of its zoom
EARTH_RADIUS_M = 6_371_004.0  # of the authors' distances (their evaluate_from_npy.py)
_EQUATOR_M = 2 * np.pi * 6_378_137.0  # WGS84: what one world width of Web Mercator measures at latitude 0
_WORLD_PX = 256.0  # width of the whole world at zoom 0
_MAX_LATITUDE = float(np.degrees(np.arctan(np.sinh(np.pi))))  # 85.05..., where the square world ends
_MAX_TURNS = 100  # of a longitude; of more, no digits of metres are left


@runtime_checkable
class _HasArray(Protocol):
    def __array__(self) -> np.ndarray: ...


# numpy.typing.ArrayLike in terms that can be checked while running: it counts a float as a complex number.
ArrayLike = _HasArray | float | int | Sequence
Array = Float[np.ndarray, "..."] | float  # NumPy hands a scalar back for scalars


def mercator_pixel(lat: ArrayLike, lon: ArrayLike, zoom: int = ZOOM) -> tuple[Array, Array]:
    """Web Mercator pixel of a position, as (row, column) from the north-west corner of the world.

    Args:
      lat: degrees, [...], within +-85.05.
      lon: degrees, [...]; any of a hundred turns of the globe.
      zoom: the world is 256 * 2**zoom pixels wide.

    Raises:
      ValueError: a latitude outside the projection, or one of the two is not a finite number.
    """
    lat, lon = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
    _require_on_the_map(lat, lon)
    world = _WORLD_PX * 2.0**zoom
    row = world * (0.5 - np.arcsinh(np.tan(np.radians(lat))) / (2 * np.pi))
    return row, world * (lon / 360 + 0.5)


def mercator_position(row: ArrayLike, column: ArrayLike, zoom: int = ZOOM) -> tuple[Array, Array]:
    """(lat, lon) in degrees of a Web Mercator pixel, the inverse of `mercator_pixel`; lon in [-180, 180)."""
    world = _WORLD_PX * 2.0**zoom
    # Far beyond the square world, where sinh would overflow, all rows are the pole itself.
    north = np.clip((0.5 - np.asarray(row, np.float64) / world) * 2 * np.pi, -700, 700)
    lat = np.degrees(np.arctan(np.sinh(north)))
    return lat, _wrap((np.asarray(column, np.float64) / world - 0.5) * 360, 360.0)


def metres_per_pixel(lat: ArrayLike, zoom: int = ZOOM) -> Array:
    """Ground metres that one Web Mercator pixel covers at a latitude (degrees, [...]), along both axes."""
    return _EQUATOR_M * np.cos(np.radians(np.asarray(lat, np.float64))) / (_WORLD_PX * 2.0**zoom)


def tile_offset(
    pano_lat: ArrayLike,
    pano_lon: ArrayLike,
    tile_lat: ArrayLike,
    tile_lon: ArrayLike,
    zoom: int = ZOOM,
    tile_px: int = TILE_PX,
) -> Float[np.ndarray, "... 2"]:
    """VIGOR's delta, (d0, d1): the panorama is at row tile_px/2 + d0, column tile_px/2 - d1 of the tile.

    Example:
      >>> from vigor_jax.geometry import tile_offset
      >>> tile_offset(41.8801, -87.6798, 41.88, -87.68).round(1).tolist()  # north and east of the tile's centre
      [-100.1, -149.1]

    Args:
      pano_lat: degrees, of the panorama; the four positions broadcast to [...].
      pano_lon: degrees.
      tile_lat: degrees, of the tile's centre.
      tile_lon: degrees.
      zoom: of the tile.
      tile_px: side of the tile image whose pixels are counted. The ground it shows is that of 640 pixels of its
        zoom, so a tile resized to 320 has half the offsets.
    """
    pano_row, pano_column = mercator_pixel(pano_lat, pano_lon, zoom)
    tile_row, tile_column = mercator_pixel(tile_lat, tile_lon, zoom)
    # The short way round: a tile beside the antimeridian overlaps panoramas on its other side.
    east = _wrap(tile_column - pano_column, _WORLD_PX * 2.0**zoom)
    return np.stack(np.broadcast_arrays(pano_row - tile_row, east), axis=-1) * (tile_px / TILE_PX)


def tile_iou(offset_px: ArrayLike, tile_px: int = TILE_PX) -> Array:
    """Intersection over union of a tile with the tile centred on the query, [..., 2] offsets -> [...].

    o / (2 - o) with o = (1 - |d0|/L)(1 - |d1|/L); 0 where the two do not touch.

    Example:
      >>> from vigor_jax.geometry import tile_iou
      >>> tile_iou([[0, 0], [320, 0], [640, 0]]).round(4).tolist()  # half a tile is shared by one and a half
      [1.0, 0.3333, 0.0]

    Raises:
      ValueError: the last axis has not two numbers.
    """
    offset = np.asarray(offset_px, np.float64)
    if offset.ndim == 0 or offset.shape[-1] != 2:
        raise ValueError(f"offsets have shape {offset.shape}: expected [..., 2], rows and columns")
    shared = np.maximum(0.0, 1 - np.abs(offset) / tile_px).prod(axis=-1)
    return shared / (2 - shared)


def locate(
    tile_lat: ArrayLike, tile_lon: ArrayLike, offset_px: ArrayLike, metres_per_px: ArrayLike | None = None
) -> tuple[Array, Array]:
    """(lat, lon) in degrees of a query at an offset from a tile's centre; lon in [-180, 180).

    Example:
      >>> from vigor_jax.geometry import locate, tile_offset
      >>> offset = tile_offset(41.8801, -87.6798, 41.88, -87.68)
      >>> [round(float(degrees), 4) for degrees in locate(41.88, -87.68, offset)]
      [41.8801, -87.6798]

    Args:
      tile_lat: degrees, [...].
      tile_lon: degrees, [...].
      offset_px: [..., 2], as of `tile_offset`, in pixels of the 640 px tile.
      metres_per_px: None: by Web Mercator at zoom 20, the inverse of `tile_offset`. A number: the authors' fixed
        resolution on the sphere (theirs is 0.114 in every city), for comparison with published distances.

    Raises:
      ValueError: a tile outside the projection, or a position that is not a finite number.
    """
    offset = np.asarray(offset_px, np.float64)
    if metres_per_px is None:
        row, column = mercator_pixel(tile_lat, tile_lon)
        return mercator_position(row + offset[..., 0], column - offset[..., 1])
    tile_lat, tile_lon = np.asarray(tile_lat, np.float64), np.asarray(tile_lon, np.float64)
    _require_on_the_map(tile_lat, tile_lon)
    degrees = np.degrees(np.asarray(metres_per_px, np.float64)[..., None] * offset / EARTH_RADIUS_M)
    lat = _wrap(tile_lat - degrees[..., 0], 360.0)
    lon = tile_lon - degrees[..., 1] / np.cos(np.radians(tile_lat))
    # An absurd offset leads over a pole and down the other side.
    beyond = np.abs(lat) > 90
    lat = np.where(beyond, np.copysign(180.0, lat) - lat, lat)
    return lat[()], _wrap(np.where(beyond, lon + 180, lon)[()], 360.0)


def great_circle_m(lat_a: ArrayLike, lon_a: ArrayLike, lat_b: ArrayLike, lon_b: ArrayLike) -> Array:
    """Great-circle distance in metres between positions in degrees, broadcast to [...], on the authors' sphere.

    By haversines: the law of cosines, which the authors use, loses the digits of distances of a few metres.

    Example:
      >>> from vigor_jax.geometry import great_circle_m
      >>> round(float(great_circle_m(0, 0, 0, 1)))  # a degree of the equator
      111195
    """
    lat_a, lon_a, lat_b, lon_b = (np.radians(np.asarray(x, np.float64)) for x in (lat_a, lon_a, lat_b, lon_b))
    haversine = np.sin((lat_b - lat_a) / 2) ** 2 + np.cos(lat_a) * np.cos(lat_b) * np.sin((lon_b - lon_a) / 2) ** 2
    # Rounding can carry antipodes a hair past 1.
    return 2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.minimum(1.0, haversine)))


def _require_on_the_map(lat: np.ndarray, lon: np.ndarray) -> None:
    if not np.all(np.abs(lat) <= _MAX_LATITUDE):
        wrong = lat[~(np.abs(lat) <= _MAX_LATITUDE)].flat[0]
        raise ValueError(f"latitude {wrong}: Web Mercator covers -{_MAX_LATITUDE:.4f} to {_MAX_LATITUDE:.4f} degrees")
    if not np.all(np.abs(lon) <= _MAX_TURNS * 360):
        wrong = lon[~(np.abs(lon) <= _MAX_TURNS * 360)].flat[0]
        raise ValueError(f"longitude {wrong}: expected degrees, {_MAX_TURNS} turns of the globe at most")


def _wrap(value: Array, period: float) -> Array:
    """Brings a value to [-period/2, period/2); the values already inside keep every bit."""
    inside = (-period / 2 <= value) & (value < period / 2)
    wrapped = (value + period / 2) % period - period / 2
    # The remainder of a hair below zero rounds up to the whole period.
    wrapped = np.where(wrapped >= period / 2, -period / 2, wrapped)
    return np.where(inside, value, wrapped)[()]
