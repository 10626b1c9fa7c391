"""Roads through given camera positions, for rendering at real coordinates.

Real panoramas do not stand on the rendered street grid. A disc around each camera, and the way between neighbours,
is cleared and paved: a raster holds the distance to the nearest such centre line, which both views look up.
"""

from typing import Any

import cv2
import jax.numpy as jnp
import numpy as np
from scipy.spatial import cKDTree

from vigor_jax.datasets.rendered_city.extent import HALF
from vigor_jax.datasets.rendered_city.place import take

ROAD_HALF_WIDTH = 5.0  # metres, between neighbouring cameras
DISC_RADIUS = 7.0  # around each camera
PAVEMENT = 2.0  # beyond the road
CLEARANCE = 3.0  # of buildings from the road
_JOIN = 45.0  # cameras closer than this and without a third between them are joined
_TEXEL = 1.0
_SUBPIXEL_BITS = 4


def join_cameras(points: np.ndarray) -> np.ndarray:
    """Pairs [P, 2] of cameras no more than `_JOIN` metres apart with no third camera nearer to both than they are."""
    if len(points) < 2:
        return np.zeros((0, 2), np.int64)
    tree = cKDTree(points)
    pairs = tree.query_pairs(_JOIN, output_type="ndarray")
    if not len(pairs):
        return pairs
    apart = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    near, who = tree.query(points[pairs[:, 0]], k=min(8, len(points)))
    other = np.linalg.norm(points[who] - points[pairs[:, 1]][:, None], axis=2)
    between = (near < apart[:, None] - 1e-6) & (other < apart[:, None] - 1e-6)
    return pairs[~between.any(axis=1)]


def camera_road_raster(points: np.ndarray) -> np.ndarray:
    """Distance beyond the roads' edges of every metre of a region: uint8 decimetres plus 100, saturated.

    Args:
      points: [K, 2] cameras as (u, v) metres from the region's centre.
    """
    side = int(2 * HALF / _TEXEL)
    scale = 1 << _SUBPIXEL_BITS

    def pixels(uv: np.ndarray) -> np.ndarray:
        # OpenCV's x is the second axis of the raster: v.
        return np.round((uv[..., ::-1] + HALF) / _TEXEL * scale - scale / 2).astype(np.int32)

    def distance_to(draw: Any) -> np.ndarray:
        canvas = np.full((side, side), 255, np.uint8)
        draw(canvas)
        return cv2.distanceTransform(canvas, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) * _TEXEL

    near = points[(np.abs(points) < HALF + 2 * _JOIN).all(axis=1)]

    def draw_lines(canvas: np.ndarray) -> None:
        lines = near[join_cameras(near)]
        cv2.polylines(canvas, list(pixels(lines)), False, 0, 1, cv2.LINE_8, _SUBPIXEL_BITS)

    def draw_points(canvas: np.ndarray) -> None:
        spots = np.floor((near + HALF) / _TEXEL).astype(np.int64)
        spots = spots[((spots >= 0) & (spots < side)).all(axis=1)]
        canvas[spots[:, 0], spots[:, 1]] = 0

    beyond = np.minimum(distance_to(draw_lines) - ROAD_HALF_WIDTH, distance_to(draw_points) - DISC_RADIUS)
    return np.clip(np.round(beyond * 10) + 100, 0, 255).astype(np.uint8)


def beyond_camera_roads(raster: Any, u: Any, v: Any) -> Any:
    """Metres beyond the edge of the nearest camera road, negative on it, at most 15.5; interpolated."""
    x, y = (u + HALF) * (1 / _TEXEL) - 0.5, (v + HALF) * (1 / _TEXEL) - 0.5
    column, row = jnp.floor(x), jnp.floor(y)
    fx, fy = x - column, y - row

    def at(i: int, j: int) -> Any:
        last = raster.shape[0] - 1
        c = jnp.clip(column.astype(jnp.int32) + i, 0, last)
        r = jnp.clip(row.astype(jnp.int32) + j, 0, last)
        return take(raster.reshape(-1), c * raster.shape[0] + r).astype(jnp.float32)

    value = (at(0, 0) * (1 - fy) + at(0, 1) * fy) * (1 - fx) + (at(1, 0) * (1 - fy) + at(1, 1) * fy) * fx
    return (value - 100.0) * 0.1
