"""MobileNet (v1) with its two multipliers, and the two networks that the paper holds it against."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vigor_jax.models.depthwise_convolution import DepthwiseConvolution
from vigor_jax.models.pointwise_convolution import PointwiseConvolution

# Output channels and stride of the thirteen depthwise separable blocks.
_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)
_STEM = 32
_FEWEST = 8  # channels of a layer, whatever the width
_ALIKE = range(7, 12)  # the five blocks of 14 x 14 x 512 that the shallow network goes without, counted from 1


class MobileNet(nn.Module):
    """MobileNet (Howard et al., 2017, arXiv 1704.04861), table 1, up to its last pointwise convolution.

    [B, H, W, 3] -> five maps of strides 2, 4, 8, 16, 32 in `dtype`; 64, 128, 256, 512, 1024 channels at width 1.

    The resolution multiplier of the paper is the size of the images: 224, 192, 160 or 128 pixels there, any here.

    Table 1 of the paper prints the last depthwise convolution as "s2" over 7 x 7 x 1024 and its output as 7 x 7 x 1024
    again. Both cannot be; with stride 1, as in the authors' code, the multiply-adds and the pooling over 7 x 7 that the
    paper states come out, so it is stride 1 here. The authors' code also has ReLU6 where the paper says ReLU, and pads
    as TensorFlow's SAME does: with stride 2 and an even side, one row below and none above.

    Blocks are named block_1 to block_13 as in the whole network, also where the shallow one leaves some out.

    Attributes:
      width: multiplies every channel count, cut to a whole number and at least 8 (the paper's alpha).
      separable: False has a full 3 x 3 convolution for every depthwise separable one (table 4, "Conv MobileNet").
      shallow: without the five blocks of 512 channels alike, 7 to 11 (table 5).
      momentum: of the running statistics. The authors' 0.9997 suits their millions of steps; within a few thousand
        steps the statistics do not arrive, and 0.99 or less is better.
      epsilon: added to variances.
      axis_name: mapped axis over which training normalises, or None for each device by itself.
      maps: how many maps are made, finest first, with nothing computed behind the last; None for all. `strides` and
        `channels` are always those of all.
      dtype: of the computation; parameters and statistics are float32.
    """

    width: float = 1.0
    separable: bool = True
    shallow: bool = False
    momentum: float = 0.9997
    epsilon: float = 1e-3
    axis_name: str | None = None
    maps: int | None = None
    dtype: Any = jnp.float32

    @property
    def blocks(self) -> tuple[tuple[int, int, int], ...]:
        """(number from 1 on, output channels, stride) of every block."""
        return tuple(
            (number, self.scaled(channels), stride)
            for number, (channels, stride) in enumerate(_BLOCKS, 1)
            if not (self.shallow and number in _ALIKE)
        )

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the image from one position to the next, in each of the maps."""
        return (2, 4, 8, 16, 32)

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each of the maps."""
        last = [before for before, after in zip(self.blocks, self.blocks[1:], strict=False) if after[2] == 2]
        return tuple(channels for _, channels, _ in (*last, self.blocks[-1]))

    def scaled(self, channels: int) -> int:
        """Channel count under the width multiplier."""
        return max(int(channels * self.width), _FEWEST)

    @nn.compact
    def __call__(
        self, images: Float[Array | np.ndarray, "batch height width 3"], *, train: bool = False
    ) -> tuple[Float[Array, "batch rows columns channels"], ...]:
        """Features before each halving of the resolution and at the end, finest first."""
        features = self._layer(jnp.asarray(images, self.dtype), "conv", self.scaled(_STEM), stride=2, train=train)
        stages = []
        for number, channels, stride in self.blocks:
            if stride == 2:
                stages.append(features)
                if len(stages) == self.maps:
                    return tuple(stages)
            name = f"block_{number}"
            if self.separable:
                inputs = features.shape[-1]
                features = self._layer(
                    features, f"{name}_depthwise", inputs, stride=stride, depthwise=True, train=train
                )
                features = self._layer(features, f"{name}_pointwise", channels, size=1, train=train)
            else:
                features = self._layer(features, f"{name}_conv", channels, stride=stride, train=train)
        return (*stages, features)

    def _layer(
        self,
        features: Array,
        name: str,
        channels: int,
        *,
        size: int = 3,
        stride: int = 1,
        depthwise: bool = False,
        train: bool,
    ) -> Array:
        options = {"kernel_init": nn.initializers.truncated_normal(0.09), "dtype": self.dtype, "name": name}
        if depthwise:
            features = DepthwiseConvolution(size, stride, **options)(features)
        elif size == 1:
            features = PointwiseConvolution(channels, stride, **options)(features)
        else:
            features = nn.Conv(channels, (size, size), strides=stride, use_bias=False, **options)(features)
        features = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            axis_name=self.axis_name,
            dtype=self.dtype,
            name=f"{name}_norm",
        )(features)
        return nn.relu6(features)


class MobileNetHead(nn.Module):
    """Average over all positions: [B, h, w, C] -> [B, C], float32. The paper's 7 x 7 pool, at any resolution."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[Array | np.ndarray, "batch rows columns channels"], *, train: bool = False
    ) -> Float[Array, "batch channels"]:
        """The mean, taken in float32."""
        return jnp.mean(features, axis=(1, 2), dtype=jnp.float32)
