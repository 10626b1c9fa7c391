"""From a map [B, H, W, C] to a descriptor [B, D]: by name, and those that do not know one position from another."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vigor_jax.models.spatial_aware_aggregation import SpatialAwareAggregation

Aggregation = Literal["safa", "gem", "average", "fully_connected"]


def aggregation(
    name: Aggregation,
    *,
    num_heads: int = 8,
    channels_per_head: int | None = None,
    start: Callable[[int, int, int], np.ndarray] | None = None,
    descriptor_dim: int = 4096,
    dropout: float = 0.2,
    kernel_std: float = 0.005,
    dtype: Any = jnp.float32,
) -> nn.Module:
    """Makes the module of that name: (map, train=...) -> descriptors, float32 and not normalised.

    "safa" alone reads `num_heads`, `channels_per_head`, `start` and `dtype`; "fully_connected" alone `descriptor_dim`
    and `dropout`; both read `kernel_std`.

    Raises:
      ValueError: there is no such aggregation.
    """
    if name == "safa":
        return SpatialAwareAggregation(num_heads, kernel_std, dtype, start, channels_per_head)
    if name == "gem":
        return GeneralizedMean()
    if name == "average":
        return AverageAggregation()
    if name == "fully_connected":
        return FullyConnectedAggregation(descriptor_dim, dropout, kernel_std)
    raise ValueError(f"aggregation {name!r}. Allowed: {', '.join(get_args(Aggregation))}.")


class AverageAggregation(nn.Module):
    """Mean over the positions: [B, H, W, C] -> [B, C] float32, not normalised. Nothing is learnt."""

    @nn.compact
    def __call__(
        self, features: Float[Array | np.ndarray, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch channels"]:
        """Averages each channel, in training as otherwise."""
        return jnp.mean(features, axis=(1, 2), dtype=jnp.float32)


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
        self, features: Float[Array | np.ndarray, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch channels"]:
        """Pools each channel, in training as otherwise."""
        p = self.param("p", nn.initializers.constant(self.start), (), jnp.float32)
        positive = jnp.maximum(jnp.asarray(features, jnp.float32), self.epsilon)
        return jnp.mean(positive**p, axis=(1, 2)) ** (1 / p)


class FullyConnectedAggregation(nn.Module):
    """Global average pool, dropout, linear layer: the head of Siamese-VGG (Zhu et al., WACV 2021), one for both views.

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
        self, features: Float[Array | np.ndarray, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch descriptor"]:
        """Averages and projects; drops features only in training."""
        average = features.astype(jnp.float32).mean(axis=(1, 2))
        average = nn.Dropout(self.dropout, deterministic=not train)(average)
        return nn.Dense(
            self.descriptor_dim,
            kernel_init=nn.initializers.truncated_normal(self.kernel_std),
            bias_init=nn.initializers.constant(0.1),
            name="linear",
        )(average)
