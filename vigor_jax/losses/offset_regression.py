"""Where in the tile the panorama was taken, as a regression."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vigor_jax.losses.batch_mean import batch_mean


def offset_regression(
    predicted: Float[Array | np.ndarray, "batch 2"],
    target: Float[Array | np.ndarray, "batch 2"],
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Mean over the batch of the summed squared differences, unweighted (VIGOR, section 4.3).

    Example:
      >>> import numpy as np
      >>> from vigor_jax.losses import offset_regression
      >>> predicted = np.array([[0.5, -0.5], [0.25, 0.0]], np.float32)
      >>> target = np.array([[0.5, 0.5], [0.25, 0.0]], np.float32)  # the first is off by half a tile
      >>> round(float(offset_regression(predicted, target)), 4)
      0.5

    Args:
      predicted: offsets (rows, columns) as shares of half a tile: pixels of the 640 px tile / 320.
      target: the true ones.
      axis_name: of the mapped axis when the rows are one device's share of the global batch. The result, equal on all
        devices, is then the loss of the global batch.

    Returns:
      A float32 scalar.
    """
    return batch_mean(jnp.sum((predicted.astype(jnp.float32) - target) ** 2, axis=-1), axis_name=axis_name)
