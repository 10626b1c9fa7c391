"""Spatial-aware feature aggregation (SAFA): positions weighted by learnt attention, several heads side by side."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class SpatialAwareAggregation(nn.Module):
    """Spatial-aware position embedding of Shi et al. (NeurIPS 2019) as VIGOR's authors use it.

    Each head maps the strongest response of every position through two linear layers (P -> P//2 -> P, no
    nonlinearity between) to one weight a position; the descriptor is the weighted sum of the features.

    [B, H, W, C] -> [B, num_heads * C] float32, head-major, not normalised. P = H * W positions in row-major order.
    With `channels_per_head` c a learnt `projection` [M, C, c] brings each head's sum down to c channels, and the
    descriptor is [B, num_heads * c]. It has no bias: the same vector added to every descriptor tells no two apart.
    The parameters depend on P, so a module serves one image size. P of at least 2 is needed.

    Attributes:
      num_heads: M, attention heads.
      kernel_std: of the truncated normal that both kernels start from. The authors' 0.005 leaves all heads nearly
        alike: fine from pretrained features, prone to collapse from random ones; about P ** -0.5 keeps them apart.
      dtype: of the features in the weighted sum; attention and descriptor are float32.
      start: (rows, columns, num_heads) -> [P, M], the attention that the heads start from (`compass_heads`); None for
        the authors' 0.1 everywhere.
      channels_per_head: c, 1 to C; None: all C, without a projection, as published.
    """

    num_heads: int
    kernel_std: float = 0.005
    dtype: Any = jnp.float32
    start: Callable[[int, int, int], np.ndarray] | None = None
    channels_per_head: int | None = None

    @nn.compact
    def __call__(
        self, features: Float[Array | np.ndarray, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch descriptor"]:
        """Weights and sums the features, in training as otherwise; sows the attention [B, P, M] as an intermediate.

        Raises:
          ValueError: fewer than two positions, or more channels a head than features have.
        """
        batch, height, width, channels = features.shape
        positions = height * width
        if positions < 2:
            raise ValueError(
                f"spatial-aware aggregation of {height} x {width} positions: at least 2 are needed. Use larger images "
                "or leave out the last pool (final_pool=False)."
            )
        hidden, heads = positions // 2, self.num_heads
        kernel_init = nn.initializers.truncated_normal(self.kernel_std)
        bias_init = nn.initializers.constant(0.1)
        kernel_in = self.param("kernel_in", kernel_init, (positions, hidden, heads), jnp.float32)
        bias_in = self.param("bias_in", bias_init, (hidden, heads), jnp.float32)
        kernel_out = self.param("kernel_out", kernel_init, (hidden, positions, heads), jnp.float32)
        if self.start is None:
            bias_out = self.param("bias_out", bias_init, (positions, heads), jnp.float32)
        else:
            bias_out = self.param("bias_out", lambda _: jnp.asarray(self.start(height, width, heads)))

        features = features.reshape(batch, positions, channels)
        strongest = features.max(axis=-1).astype(jnp.float32)
        # A thousandth of the convolutions' work, so full precision costs nothing.
        highest = jax.lax.Precision.HIGHEST
        between = jnp.einsum("bp,pqm->bqm", strongest, kernel_in, precision=highest) + bias_in
        attention = jnp.einsum("bqm,qpm->bpm", between, kernel_out, precision=highest) + bias_out
        self.sow("intermediates", "attention", attention)
        descriptor = jnp.einsum(
            "bpc,bpm->bmc",
            features.astype(self.dtype),
            attention.astype(self.dtype),
            precision=highest if self.dtype == jnp.float32 else None,
            preferred_element_type=jnp.float32,
        )
        if self.channels_per_head is not None:
            descriptor = self._projected(descriptor)
        return descriptor.reshape(batch, -1)

    def _projected(self, descriptor: Float[Array, "batch heads channels"]) -> Float[Array, "batch heads fewer"]:
        _, heads, channels = descriptor.shape
        if not 1 <= self.channels_per_head <= channels:
            raise ValueError(
                f"channels_per_head = {self.channels_per_head}: features of {channels} channels allow 1 to {channels}"
            )
        projection = self.param("projection", lambda _: _cosines(heads, channels, self.channels_per_head))
        return jnp.einsum("bmc,mcd->bmd", descriptor, projection, precision=jax.lax.Precision.HIGHEST)


def _cosines(heads: int, channels: int, kept: int) -> Float[Array, "heads channels kept"]:
    """Orthonormal cosines (DCT-II) over the channels, head m with numbers m * kept and on, round again from 0.

    The same in both views: towers that start from the same weights have the same channels, and two random projections
    would hide that. The heads see different parts of what they sum, all of it where heads * kept >= channels.
    """
    number = (np.arange(heads)[:, None, None] * kept + np.arange(kept)) % channels
    cosines = np.cos(np.pi * number * (np.arange(channels)[:, None] + 0.5) / channels)
    return jnp.asarray(cosines * np.where(number == 0, 1, np.sqrt(2)) / np.sqrt(channels), jnp.float32)
