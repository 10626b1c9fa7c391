"""Where in the tile the panorama was taken, as a regression."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def offset_regression(
    predicted: Float[Array | np.ndarray, "batch 2"], target: Float[Array | np.ndarray, "batch 2"]
) -> Float[Array, ""]:
    """Mean over the batch of the summed squared differences, unweighted (VIGOR, section 4.3).

    Args:
      predicted: offsets (rows, columns) as shares of half a tile: pixels of the 640 px tile / 320.
      target: the true ones.

    Returns:
      A float32 scalar.
    """
    return jnp.mean(jnp.sum((predicted.astype(jnp.float32) - target) ** 2, axis=-1))
