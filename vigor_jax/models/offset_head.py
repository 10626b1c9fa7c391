"""Where in the tile the panorama was taken, read from the two descriptors."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class OffsetHead(nn.Module):
    """Two-layer perceptron on both descriptors side by side (VIGOR, section 4.3; models.py).

    [B, D] and [B, D] -> [B, outputs] float32. The authors' descriptors come before L2 normalisation.

    The first layer is linear in each descriptor, so it is kept in two parts, one a view: an image's part is computed
    once, and any panorama is then placed on any tile by `outputs_of` two vectors of `hidden` numbers.

    The start is that of all the authors' fully connected layers: truncated normal, bias 0.1. From their pretrained
    8 x 512 descriptors the hidden units then differ at once. Descriptors of fewer or smaller values leave them nearly
    alike at 0.1 for the first steps; a `kernel_std` of about (2 D) ** -0.5 keeps them apart whatever D.

    Attributes:
      outputs: 2 for an offset in halves of a tile (pixels / 320), or the number of `offset_cells` for their logits.
      hidden: units of the layer between; the authors' 512.
      kernel_std: of the truncated normal that all kernels start from; the authors' 0.005.
      dtype: of the computation; parameters and results are float32.
    """

    outputs: int
    hidden: int = 512
    kernel_std: float = 0.005
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """One bias for both parts of the first layer."""
        self.aerial_in = self._linear(self.hidden, use_bias=False)
        self.ground_in = self._linear(self.hidden)
        self.linear_out = self._linear(self.outputs)

    def __call__(
        self, aerial: Float[Array | np.ndarray, "batch dim"], ground: Float[Array | np.ndarray, "batch dim"]
    ) -> Float[Array, "batch outputs"]:
        """Offsets or logits of the pairs: row i of `aerial` with row i of `ground`."""
        return self.outputs_of(self.aerial_part(aerial), self.ground_part(ground))

    def aerial_part(self, descriptor: Float[Array | np.ndarray, "batch dim"]) -> Float[Array, "batch hidden"]:
        """What tiles add to the hidden layer, before its nonlinearity."""
        return self.aerial_in(descriptor).astype(jnp.float32)

    def ground_part(self, descriptor: Float[Array | np.ndarray, "batch dim"]) -> Float[Array, "batch hidden"]:
        """What panoramas add to the hidden layer, before its nonlinearity."""
        return self.ground_in(descriptor).astype(jnp.float32)

    def outputs_of(
        self, aerial: Float[Array | np.ndarray, "batch hidden"], ground: Float[Array | np.ndarray, "batch hidden"]
    ) -> Float[Array, "batch outputs"]:
        """Offsets or logits from the parts of the pairs."""
        return self.linear_out(nn.relu(aerial + ground)).astype(jnp.float32)

    def _linear(self, features: int, *, use_bias: bool = True) -> nn.Dense:
        return nn.Dense(
            features,
            use_bias=use_bias,
            dtype=self.dtype,
            kernel_init=nn.initializers.truncated_normal(self.kernel_std),
            bias_init=nn.initializers.constant(0.1),
            # Little beside the towers, and a lost digit is a displaced position.
            precision=jax.lax.Precision.HIGHEST if self.dtype == jnp.float32 else None,
        )
