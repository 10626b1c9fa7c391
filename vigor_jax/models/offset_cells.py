"""A tile's middle cut into 10 x 10 cells: offsets as classes, and classes as offsets.

Offsets are (d0, d1) as of `geometry.tile_offset` in halves of a tile: pixels of the 640 px tile / 320. Cells are
numbered row by row as one sees them on the tile, from its north-west: `logits.reshape(10, 10)` is a map, north up.

The paper says only that the class is one of 10 x 10 cells, not what they cover. A positive is the nearest tile of the
grid, so its offsets stay within half a grid step; cells over the whole tile would leave three quarters of them without
an example and make the others twice as wide. Half a step is 160 px by the paper's nominal half-overlapping grid, but
the true grid is 36.5 m in every city: 155 px in San Francisco, 165 in Chicago, 182 in Seattle, where 23 % of the
positives lie beyond 160. The cells therefore cover 192 px on every side: 38.4 px a cell, 4.3 m in New York.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vigor_jax.errors import UserError

CELLS = 10  # along each axis
REACH = 0.6  # the cells cover offsets of -REACH to REACH on both axes, in halves of a tile
_HALF_TILE_PX = 320


def require_covered(offset: Float[np.ndarray, "*batch 2"]) -> None:
    """Checks on the host, once, that every offset to be learnt lies in a cell.

    Turning and mirroring a tile exchanges and negates the two numbers, so it keeps covered offsets covered.

    Raises:
      UserError: an offset outside the cells, or not a number.
    """
    outside = ~(np.abs(offset) <= REACH).all(axis=-1)
    if outside.any():
        row = tuple(np.argwhere(outside)[0])
        raise UserError(
            f"{int(outside.sum())} of {outside.size} offsets lie outside the {CELLS} x {CELLS} cells of the offset "
            f"classification, which cover {REACH * _HALF_TILE_PX:.0f} px on every side of the tile's centre; the first "
            f"is {offset[row] * _HALF_TILE_PX} px. Tiles of such a wide grid need the regression head."
        )


def cell_of(offset: Float[Array | np.ndarray, "*batch 2"]) -> Int[Array, "*batch"]:
    """The cell an offset lies in, 0..99; -1 outside them all, which `losses.offset_classification` turns into NaN.

    A cell holds its northern and western edge; the outermost southern and eastern edges belong to the last cells.
    """
    offset = jnp.asarray(offset, jnp.float32)
    # From the north-west corner: d0 grows to the south, d1 to the west.
    from_corner = jnp.stack([REACH + offset[..., 0], REACH - offset[..., 1]], axis=-1) / (2 * REACH)
    index = jnp.minimum(jnp.floor(from_corner * CELLS), CELLS - 1).astype(jnp.int32)
    covered = (jnp.abs(offset) <= jnp.float32(REACH)).all(axis=-1)
    return jnp.where(covered, index[..., 0] * CELLS + index[..., 1], -1)


def centre_of_best(logits: Float[Array | np.ndarray, "*batch cells"]) -> Float[Array, "*batch 2"]:
    """Offset of the centre of the most likely cell; of equals, the first."""
    return jnp.asarray(_centres())[jnp.argmax(logits, axis=-1)]


def expectation(logits: Float[Array | np.ndarray, "*batch cells"]) -> Float[Array, "*batch 2"]:
    """Mean of the cells' centres, weighted by the cells' probabilities (softmax)."""
    probabilities = jax.nn.softmax(jnp.asarray(logits, jnp.float32), axis=-1)
    return jnp.matmul(probabilities, _centres(), precision=jax.lax.Precision.HIGHEST)


def _centres() -> Float[np.ndarray, "cells 2"]:
    """Offsets of the cells' centres, in the order of the classes."""
    middle = ((np.arange(CELLS) + 0.5) / CELLS * 2 - 1) * REACH
    south, east = np.meshgrid(middle, middle, indexing="ij")
    return np.stack([south, -east], axis=-1).reshape(-1, 2).astype(np.float32)
