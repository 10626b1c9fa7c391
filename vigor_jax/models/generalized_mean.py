"""Generalised-mean pooling (GeM): between the average and the maximum of a map, where between is learnt."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class GeneralizedMean(nn.Module):
    """(mean of x^p over the positions)^(1/p) of each channel (Radenovic et al., TPAMI 2019, equation 3).

    [B, H, W, C] -> [B, C] float32, not normalised. p = 1 is the average, p towards infinity the maximum. It is one
    parameter `p` for all channels, and learnt. Features below `epsilon`, all negative ones among them, count as
    `epsilon`: a power needs something positive, which maps behind a ReLU are of themselves.

    Attributes:
      start: of p; the authors' 3.
      epsilon: the least that a feature counts.
    """

    start: float = 3.0
    epsilon: float = 1e-6

    @nn.compact
    def __call__(
        self, features: Float[Array | np.ndarray, "batch height width channels"]
    ) -> Float[Array, "batch channels"]:
        """Descriptors."""
        p = self.param("p", nn.initializers.constant(self.start), (), jnp.float32)
        positive = jnp.maximum(jnp.asarray(features, jnp.float32), self.epsilon)
        return jnp.mean(positive**p, axis=(1, 2)) ** (1 / p)
