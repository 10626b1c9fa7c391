"""ConvNeXt: a convolutional network brought up to date with the habits of transformers."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vigor_jax.models.depthwise_convolution import DepthwiseConvolution


@dataclasses.dataclass(frozen=True)
class Size:
    """Blocks and channels of each stage, and the rate at which training from random weights drops the last block."""

    depths: tuple[int, ...]
    channels: tuple[int, ...]
    stochastic_depth: float


# Section 3 and, for the rates, table 5 of the paper.
SIZES = {
    "convnext_tiny": Size((3, 3, 9, 3), (96, 192, 384, 768), 0.1),
    "convnext_small": Size((3, 3, 27, 3), (96, 192, 384, 768), 0.4),
    "convnext_base": Size((3, 3, 27, 3), (128, 256, 512, 1024), 0.5),
}

_EPSILON = 1e-6
_INIT = nn.initializers.truncated_normal(0.02)


class ConvNeXt(nn.Module):
    """ConvNeXt (Liu et al., 2022, table 9), stride 32.

    [B, H, W, 3] preprocessed images -> four maps [B, floor(H/s), floor(W/s), C], one a stage, not normalised, in
    `dtype`. Rows and columns beyond a multiple of the stride are left out, as by the paper's code.

    Attributes:
      depths: blocks of each stage.
      channels: of each stage's map.
      stochastic_depth: the rate at which training leaves out the last block, drawn for each example from "dropout";
        it rises from 0 at the first block in equal steps.
      dtype: of the computation; parameters are float32.
      maps: how many maps are made, finest first, with nothing computed behind the last; None for all. `strides` and
        `channels` are always those of all.
    """

    depths: tuple[int, ...] = SIZES["convnext_tiny"].depths
    channels: tuple[int, ...] = SIZES["convnext_tiny"].channels
    stochastic_depth: float = 0.0
    dtype: Any = jnp.float32
    maps: int | None = None

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the image from one position of each stage's map to the next."""
        return tuple(4 * 2**stage for stage in range(len(self.depths)))

    @nn.compact
    def __call__(
        self, images: Float[Array | np.ndarray, "batch height width 3"], *, train: bool = False
    ) -> tuple[Float[Array, "batch rows columns channels"], ...]:
        """Features of each stage, finest first; `train` drops blocks, which draws from "dropout"."""
        features = jnp.asarray(images, self.dtype)
        drop_rates = iter(np.linspace(0.0, self.stochastic_depth, sum(self.depths)).tolist())
        stages = []
        for stage, (depth, channels) in enumerate(zip(self.depths, self.channels, strict=True)):
            if stage == 0:
                features = self._patches(features, channels, 4, "stem_conv")
                features = nn.LayerNorm(_EPSILON, dtype=self.dtype, name="stem_norm")(features)
            else:
                features = nn.LayerNorm(_EPSILON, dtype=self.dtype, name=f"downsample{stage}_norm")(features)
                features = self._patches(features, channels, 2, f"downsample{stage}_conv")
            for block in range(depth):
                layer = _Block(next(drop_rates), self.dtype, name=f"stage{stage}_block{block}")
                features = layer(features, train)
            stages.append(features)
            if len(stages) == self.maps:
                break
        return tuple(stages)

    def _patches(self, features: Array, channels: int, size: int, name: str) -> Array:
        convolution = nn.Conv(
            channels, (size, size), size, padding="VALID", dtype=self.dtype, kernel_init=_INIT, name=name
        )
        return convolution(features)


class _Block(nn.Module):
    """Depthwise 7x7 convolution, layer norm and a perceptron on every position, beside the identity (figure 4)."""

    drop_rate: float
    dtype: Any

    @nn.compact
    def __call__(self, features: Array, train: bool) -> Array:
        channels = features.shape[-1]
        residual = DepthwiseConvolution(7, use_bias=True, dtype=self.dtype, kernel_init=_INIT, name="depthwise")(
            features
        )
        residual = nn.LayerNorm(_EPSILON, dtype=self.dtype, name="norm")(residual)
        residual = nn.Dense(4 * channels, dtype=self.dtype, kernel_init=_INIT, name="pwconv1")(residual)
        # By the error function: the tanh approximation differs by up to 5e-4 a layer from what the weights saw.
        residual = nn.gelu(residual, approximate=False)
        residual = nn.Dense(channels, dtype=self.dtype, kernel_init=_INIT, name="pwconv2")(residual)
        scale = self.param("layer_scale", nn.initializers.constant(1e-6), (channels,))
        residual = residual * scale.astype(self.dtype)
        # One draw an example for the whole residual: stochastic depth (Huang et al., 2016).
        return features + nn.Dropout(self.drop_rate, broadcast_dims=(1, 2, 3))(residual, deterministic=not train)


class ConvNeXtHead(nn.Module):
    """Global average pool of the last map and a layer norm: [B, H, W, C] -> [B, C], float32."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[Array | np.ndarray, "batch rows columns channels"], *, train: bool = False
    ) -> Float[Array, "batch channels"]:
        """The mean over all positions, normalised."""
        return nn.LayerNorm(_EPSILON, name="norm")(jnp.mean(features, axis=(1, 2), dtype=jnp.float32))
