"""How much less similar than its positive a semi-positive tile should be."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def iou_ratio(
    ground: Float[Array | np.ndarray, "batch dim"],
    positive: Float[Array | np.ndarray, "batch dim"],
    semi_positive: Float[Array | np.ndarray, "batch dim"],
    ratio: Float[Array | np.ndarray, "batch"],
) -> Float[Array, ""]:
    """mean((s_semi / s_pos - ratio)^2) over the batch, unweighted (VIGOR, equation 3).

    Args:
      ground: unit embeddings of the panoramas.
      positive: unit embeddings of their positive tiles.
      semi_positive: unit embeddings of one semi-positive tile each.
      ratio: IOU of the semi-positive over IOU of the positive, with the tile centred on the panorama.

    Returns:
      A float32 scalar; not finite where a panorama and its positive are exactly orthogonal.
    """
    ground = ground.astype(jnp.float32)
    similarity_positive = jnp.sum(ground * positive, axis=-1)
    similarity_semi = jnp.sum(ground * semi_positive, axis=-1)
    return jnp.mean((similarity_semi / similarity_positive - ratio) ** 2)
