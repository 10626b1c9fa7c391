"""A start for SAFA in which head m of both towers looks in the same compass direction.

The authors start all heads alike, which pretrained features soon tell apart. From random features that takes most of
a short training: a bias moves by no more than the learning rate a step. Here every head has a direction from the
first step on, and what is learnt is what to look for in it.
"""

import numpy as np
from jaxtyping import Float

# exp(2 (cos - 1)) has fallen to a half at 49 degrees, so that eight heads overlap: the camera is seldom at the
# centre of the tile, and near things lie in other directions from there.
_CONCENTRATION = 2.0


def aerial_compass_heads(rows: int, columns: int, num_heads: int) -> Float[np.ndarray, "positions heads"]:
    """Attention of heads on the positions of a tile, north up: [rows * columns, num_heads] in (0, 1], row-major.

    Head m looks at bearing 360 m / num_heads degrees, clockwise from north. The centre belongs to every head.
    """
    south, east = np.meshgrid(_centres(rows), _centres(columns), indexing="ij")
    return _attention(np.arctan2(east, -south), np.minimum(1.0, np.hypot(south, east)), num_heads)


def ground_compass_heads(rows: int, columns: int, num_heads: int) -> Float[np.ndarray, "positions heads"]:
    """Attention of heads on the positions of a panorama, north in the middle column and east to its right.

    [rows * columns, num_heads] in (0, 1], row-major; the same directions as `aerial_compass_heads`.
    """
    bearing = np.broadcast_to(np.pi * _centres(columns), (rows, columns))
    return _attention(bearing, np.ones((rows, columns)), num_heads)


def _centres(cells: int) -> Float[np.ndarray, "cells"]:
    """Middles of equal cells of [-1, 1]."""
    return (np.arange(cells) + 0.5) / cells * 2 - 1


def _attention(
    bearing: Float[np.ndarray, "rows columns"], away: Float[np.ndarray, "rows columns"], num_heads: int
) -> Float[np.ndarray, "positions heads"]:
    heads = 2 * np.pi * np.arange(num_heads) / num_heads
    turned = np.cos(bearing[..., None] - heads) - 1
    return np.exp(_CONCENTRATION * away[..., None] * turned).reshape(-1, num_heads).astype(np.float32)
