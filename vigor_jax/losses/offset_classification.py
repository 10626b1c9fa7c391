"""Where in the tile the panorama was taken, as a choice among cells."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vigor_jax.losses.batch_mean import batch_mean


def offset_classification(
    logits: Float[Array | np.ndarray, "batch cells"],
    cell: Int[Array | np.ndarray, "batch"],
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Mean cross-entropy in nats of the true cells, unweighted (VIGOR, section 4.3, the variant by classification).

    Args:
      logits: of the cells.
      cell: the true one, as of `models.offset_cells.cell_of`.
      axis_name: of the mapped axis when the rows are one device's share of the global batch. The result, equal on all
        devices, is then the loss of the global batch.

    Returns:
      A float32 scalar; NaN if a cell is none of 0..cells - 1, because a wrong cell would be learnt without a sign.
    """
    log_probabilities = jax.nn.log_softmax(jnp.asarray(logits, jnp.float32), axis=-1)
    cell = jnp.asarray(cell)
    known = (cell >= 0) & (cell < log_probabilities.shape[-1])
    chosen = jnp.take_along_axis(log_probabilities, jnp.where(known, cell, 0)[:, None], axis=-1)[:, 0]
    return batch_mean(jnp.where(known, -chosen, jnp.nan), axis_name=axis_name)
