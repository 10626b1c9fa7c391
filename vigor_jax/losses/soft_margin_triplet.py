"""Soft-margin triplet loss over all triplets of a batch of matching pairs."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def soft_margin_triplet(
    aerial: Float[Array | np.ndarray, "pairs dim"],
    ground: Float[Array | np.ndarray, "pairs dim"],
    alpha: float = 10.0,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Mean of log(1 + exp(alpha * (d_positive - d_negative))) over the 2N(N-1) triplets of N matching pairs.

    Distances are squared Euclidean, 2 - 2 cos. Every aerial row is an anchor for the N-1 panoramas of other pairs,
    every ground row for the N-1 other tiles (Hu et al., CVM-Net, 2018; VIGOR's train_overall.py, whose own sum also
    runs over the diagonal and so adds the constant log(2) / (N - 1)).

    Example:
      >>> import numpy as np
      >>> from vigor_jax.losses import soft_margin_triplet
      >>> places = np.eye(2, dtype=np.float32)  # two, as far apart as log(1 + exp(-2)) says
      >>> round(float(soft_margin_triplet(places, places, alpha=1.0)), 4)
      0.1269
      >>> round(float(soft_margin_triplet(places, places[::-1], alpha=1.0)), 4)  # each taken for the other
      2.1269

    Args:
      aerial: unit embeddings; row i matches row i of `ground`.
      ground: unit embeddings.
      alpha: sharpness of the soft margin.
      axis_name: of the mapped axis when the rows are one device's share of the global batch. Each device scores its
        own anchors against the gathered rows of the other view, so every triplet is computed once, and the result,
        equal on all devices, is the loss of the global batch.

    Returns:
      A float32 scalar.

    Raises:
      ValueError: the global batch holds a single pair, which has no negative.
    """
    aerial, ground = aerial.astype(jnp.float32), ground.astype(jnp.float32)
    local = aerial.shape[0]
    if axis_name is None:
        all_aerial, all_ground, first, total = aerial, ground, 0, local
    else:
        all_aerial = jax.lax.all_gather(aerial, axis_name, tiled=True)
        all_ground = jax.lax.all_gather(ground, axis_name, tiled=True)
        first, total = jax.lax.axis_index(axis_name) * local, all_ground.shape[0]
    if total < 2:
        raise ValueError(f"soft-margin triplet loss of {total} pair: a negative comes from another pair, so 2 at least")
    own = jnp.arange(total) == first + jnp.arange(local)[:, None]
    loss = _anchors(aerial, ground, all_ground, own, alpha) + _anchors(ground, aerial, all_aerial, own, alpha)
    if axis_name is not None:
        loss = jax.lax.psum(loss, axis_name)
    return loss / (2 * total * (total - 1))


def _anchors(
    anchors: Float[Array | np.ndarray, "local dim"],
    positives: Float[Array | np.ndarray, "local dim"],
    references: Float[Array | np.ndarray, "total dim"],
    own: Bool[Array, "local total"],
    alpha: float,
) -> Float[Array, ""]:
    """Sum over the triplets of these anchors with every reference that is not their own."""
    highest = jax.lax.Precision.HIGHEST
    similarity = jnp.matmul(anchors, references.T, precision=highest)
    positive = jnp.einsum("nd,nd->n", anchors, positives, precision=highest)
    # d_positive - d_negative = 2 * (s_negative - s_positive); softplus neither overflows nor loses small values.
    triplets = jax.nn.softplus(2 * alpha * (similarity - positive[:, None]))
    return jnp.sum(jnp.where(own, 0.0, triplets))
