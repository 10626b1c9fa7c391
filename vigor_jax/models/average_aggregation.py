"""Average pooling: the descriptor that has nothing to learn."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class AverageAggregation(nn.Module):
    """Mean over the positions: [B, H, W, C] -> [B, C] float32, not normalised."""

    @nn.compact
    def __call__(
        self, features: Float[Array | np.ndarray, "batch height width channels"]
    ) -> Float[Array, "batch channels"]:
        """Descriptors."""
        return jnp.mean(features, axis=(1, 2), dtype=jnp.float32)
