"""How much less similar than its positive a semi-positive tile should be, without a division."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from vigor_jax.losses.batch_mean import batch_mean


def iou_difference(
    ground: Float[Array | np.ndarray, "batch dim"],
    positive: Float[Array | np.ndarray, "batch dim"],
    semi_positive: Float[Array | np.ndarray, "batch dim"],
    ratio: Float[Array | np.ndarray, "batch"],
    *,
    valid: Bool[Array | np.ndarray, "batch"] | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """mean((s_semi - ratio * s_pos)^2) over the batch: `iou_ratio` with every row weighted by s_pos^2.

    For embeddings whose similarities pass through zero, such as centred ones: there the published quotient of a pair
    that is not yet matched is arbitrarily large, and so is its gradient. Both losses are zero at the same similarities.
    Ours; VIGOR has the quotient alone.

    Example:
      >>> import numpy as np
      >>> from vigor_jax.losses import iou_difference
      >>> ground = np.array([[1.0, 0.0]], np.float32)
      >>> positive = np.array([[0.8, 0.6]], np.float32)  # a similarity of 0.8
      >>> semi_positive = np.array([[0.6, 0.8]], np.float32)  # of 0.6
      >>> ratio = np.array([0.25], np.float32)
      >>> round(float(iou_difference(ground, positive, semi_positive, ratio)), 4)  # (0.6 - 0.2)^2
      0.16

    Args:
      ground: unit embeddings of the panoramas.
      positive: unit embeddings of their positive tiles.
      semi_positive: unit embeddings of one semi-positive tile each.
      ratio: IOU of the semi-positive over IOU of the positive, with the tile centred on the panorama.
      valid: rows that count: the mean is over them, and 0 where there is none; None: all of them.
      axis_name: of the mapped axis when the rows are one device's share of the global batch. The result, equal on all
        devices, is then the loss of the global batch.

    Returns:
      A float32 scalar, at most 4 for ratios of at most 1.
    """
    ground = ground.astype(jnp.float32)
    similarity_positive = jnp.sum(ground * positive, axis=-1)
    similarity_semi = jnp.sum(ground * semi_positive, axis=-1)
    if valid is not None:
        valid = jnp.asarray(valid)
        # Before it is used: the gradient of what is not finite is NaN even where it does not count.
        ratio = jnp.where(valid, ratio, 0.0)
    return batch_mean((similarity_semi - ratio * similarity_positive) ** 2, valid, axis_name)
