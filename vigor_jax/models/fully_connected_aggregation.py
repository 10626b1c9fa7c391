"""The head of Siamese-VGG: average over the image, then one fully connected layer."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class FullyConnectedAggregation(nn.Module):
    """Global average pool, dropout, linear layer (Zhu et al., WACV 2021); both towers share one instance.

    [B, H, W, C] -> [B, descriptor_dim] float32, not normalised. Dropout draws from the "dropout" generator.

    Attributes:
      descriptor_dim: outputs; the authors' 4096.
      dropout: share of the averaged features set to zero in training.
      kernel_std: of the truncated normal that the kernel starts from; the authors' value.
    """

    descriptor_dim: int = 4096
    dropout: float = 0.2
    kernel_std: float = 0.005

    @nn.compact
    def __call__(
        self, features: Float[Array | np.ndarray, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch descriptor"]:
        """Descriptors; dropout only when training."""
        average = features.astype(jnp.float32).mean(axis=(1, 2))
        average = nn.Dropout(self.dropout, deterministic=not train)(average)
        return nn.Dense(
            self.descriptor_dim,
            kernel_init=nn.initializers.truncated_normal(self.kernel_std),
            bias_init=nn.initializers.constant(0.1),
            name="linear",
        )(average)
