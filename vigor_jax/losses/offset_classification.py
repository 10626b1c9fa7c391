"""Where in the tile the panorama was taken, as a choice among cells."""

import numpy as np
from jaxtyping import Array, Float, Int

from vigor_jax.losses.cross_entropy import cross_entropy


def offset_classification(
    logits: Float[Array | np.ndarray, "batch cells"],
    cell: Int[Array | np.ndarray, "batch"],
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Cross-entropy of the true cells, unweighted (VIGOR, section 4.3, the variant by classification).

    Example:
      >>> import numpy as np
      >>> from vigor_jax.losses import offset_classification
      >>> undecided = np.zeros((1, 100), np.float32)  # among 10 x 10 cells: log(100)
      >>> round(float(offset_classification(undecided, np.array([42]))), 4)
      4.6052

    Args:
      logits: of the cells.
      cell: the true one, as of `models.offset_cells.cell_of`.
      axis_name: as of `cross_entropy`, whose result this is.
    """
    return cross_entropy(logits, cell, axis_name=axis_name)
