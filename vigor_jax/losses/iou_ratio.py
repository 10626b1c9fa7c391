"""How much less similar than its positive a semi-positive tile should be."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from vigor_jax.losses.batch_mean import batch_mean


def iou_ratio(
    ground: Float[Array | np.ndarray, "batch dim"],
    positive: Float[Array | np.ndarray, "batch dim"],
    semi_positive: Float[Array | np.ndarray, "batch dim"],
    ratio: Float[Array | np.ndarray, "batch"],
    *,
    valid: Bool[Array | np.ndarray, "batch"] | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """mean((s_semi / s_pos - ratio)^2) over the batch, unweighted (VIGOR, equation 3).

    Example:
      >>> import numpy as np
      >>> from vigor_jax.losses import iou_ratio
      >>> ground = np.array([[1.0, 0.0]], np.float32)
      >>> positive = np.array([[0.8, 0.6]], np.float32)  # a similarity of 0.8
      >>> semi_positive = np.array([[0.6, 0.8]], np.float32)  # of 0.6
      >>> ratio = np.array([0.25], np.float32)
      >>> round(float(iou_ratio(ground, positive, semi_positive, ratio)), 4)  # (0.75 - 0.25)^2
      0.25

    Args:
      ground: unit embeddings of the panoramas.
      positive: unit embeddings of their positive tiles.
      semi_positive: unit embeddings of one semi-positive tile each.
      ratio: IOU of the semi-positive over IOU of the positive, with the tile centred on the panorama.
      valid: rows that count: the mean is over them, and 0 where there is none; None: all of them.
      axis_name: of the mapped axis when the rows are one device's share of the global batch. The result, equal on all
        devices, is then the loss of the global batch.

    Returns:
      A float32 scalar; not finite where a panorama of a valid row and its positive are exactly orthogonal.
    """
    ground = ground.astype(jnp.float32)
    similarity_positive = jnp.sum(ground * positive, axis=-1)
    similarity_semi = jnp.sum(ground * semi_positive, axis=-1)
    if valid is not None:
        # Before the division: the gradient of a quotient that is not finite is NaN even where it does not count.
        valid = jnp.asarray(valid)
        similarity_positive = jnp.where(valid, similarity_positive, 1.0)
        ratio = jnp.where(valid, ratio, 0.0)
    return batch_mean((similarity_semi / similarity_positive - ratio) ** 2, valid, axis_name)
