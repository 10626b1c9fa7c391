"""Marching outward along each azimuth column: the first obstacle that reaches above each elevation."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vigor_jax.datasets.rendered_city.extent import GROUND, SIGHT
from vigor_jax.datasets.rendered_city.heights import canopy_top, solid_at
from vigor_jax.datasets.rendered_city.place import take
from vigor_jax.datasets.rendered_city.trees import tree_at

EYE = 2.5  # metres, the camera's height
_NOTHING = -1e4


class March(NamedTuple):
    """What a panorama's columns meet; slopes are tangents of the elevation angle."""

    distances: np.ndarray  # [D] metres of the samples
    solid_slope: Any  # [W, D] running maximum over buildings and cars; never too low, a little too high
    canopy_slope: Any  # [W, D] running maximum over tree canopies
    trunk: Any  # [W] distance of the nearest trunk; infinite without one


def sample_distances(width: int) -> np.ndarray:
    """Distances at which columns are sampled: even steps near the camera, then growing in proportion."""
    ratio = 0.042 if width <= 400 else 0.025
    nearest = 0.55 if width <= 400 else 0.35
    distances = [1.0]
    while distances[-1] < SIGHT:
        distances.append(distances[-1] + max(nearest, ratio * distances[-1]))
    return np.asarray(distances, np.float32)


def march(region: Any, u0: Any, v0: Any, du: Any, dv: Any) -> March:
    """Samples the world along the horizontal unit directions (du, dv), [W] each."""
    t = sample_distances(du.shape[0])
    before = np.concatenate([t[:1] * 0.5, t[:-1]])
    u, v = u0 + du[:, None] * t, v0 + dv[:, None] * t
    height = jnp.abs(solid_at(region.heights[GROUND], u, v))
    # A front lies anywhere up to a step before the first sample behind it: take the distance that makes it higher.
    reach = (height - EYE) / jnp.where(height > EYE, before, t)
    solid = jnp.where(height > 0, reach, _NOTHING)
    tree = tree_at(region, u, v)
    top = canopy_top(tree)
    canopy = jnp.where(top > 0, (top - EYE) / t, _NOTHING)

    aside = jnp.abs(tree.du * dv[:, None] - tree.dv * du[:, None])
    axis = t + tree.du * du[:, None] + tree.dv * dv[:, None]
    met = (tree.radius > 0) & (aside < trunk_radius(tree.radius)) & (axis > 0.6)
    trunk = jnp.min(jnp.where(met, axis, jnp.inf), axis=1)
    return March(t, jax.lax.cummax(solid, axis=1), jax.lax.cummax(canopy, axis=1), trunk)


def trunk_radius(canopy_radius: Any) -> Any:
    """Metres."""
    return 0.1 + 0.045 * canopy_radius


def first_above(slopes: Any, slope: Any) -> Any:
    """Index of the first sample whose running maximum reaches a slope, D where none does: a binary search.

    `slopes` [W, D] are running maxima, `slope` [R, W] or [R, 1]; the result is int32 [R, W].
    """
    width, count = slopes.shape
    flat, first = slopes.reshape(-1), jnp.arange(width) * count
    found = jnp.zeros((slope.shape[0], width), jnp.int32)
    for step in (2**n for n in reversed(range(count.bit_length()))):
        ahead = found + step
        below = take(flat, first + jnp.minimum(ahead, count) - 1) < slope
        found = jnp.where((ahead <= count) & below, ahead, found)
    return found
