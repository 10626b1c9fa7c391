"""Which semi-positive tile of a panorama joins the batch, and how far it should be from the positive.

Three tiles cover or touch a panorama's surroundings beside its positive; one of them, uniformly at random, is
embedded with the batch for the IOU loss (VIGOR; Zhu, Yang, Chen, CVPR 2021, section 4.2; the draw is their
dataloader.py's).
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from vigor_jax import geometry
from vigor_jax.input.randomness import fold


@dataclasses.dataclass(frozen=True)
class SemiPositive:
    """One of a panorama's three semi-positive tiles."""

    column: int  # of the panorama's references: 1, 2 or 3
    counts: bool  # in the loss
    iou_ratio: float  # IOU of this tile over IOU of the positive, each with the tile centred on the panorama


def draw(
    offset_px: Float[np.ndarray, "4 2"], *, seed: int, step: int, slot: int, drop_uncovering: bool
) -> SemiPositive:
    """Draws the semi-positive of the example in a slot of the global batch of a step.

    Args:
      offset_px: `geometry.tile_offset` of the positive and the three semi-positive tiles.
      drop_uncovering: draw among the tiles that contain the panorama. Where none does, the drawn tile does not count.
    """
    candidates, counts = [1, 2, 3], True
    if drop_uncovering:
        covers = np.abs(offset_px[1:]).max(axis=1) <= geometry.TILE_PX / 2
        counts = bool(covers.any())
        candidates = [column for column, covering in zip(candidates, covers, strict=True) if covering or not counts]
    choice = np.random.default_rng(fold(seed, "semi-positive", step, slot))
    column = candidates[choice.integers(len(candidates))]
    positive, semi_positive = geometry.tile_iou(offset_px[[0, column]])
    return SemiPositive(column, counts, float(semi_positive / positive))
