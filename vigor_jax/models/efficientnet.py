"""EfficientNet B0 to B7: one small network, grown in width, depth and image size together."""

import dataclasses
import math
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vigor_jax.models.depthwise_convolution import DepthwiseConvolution
from vigor_jax.models.pointwise_convolution import PointwiseConvolution


@dataclasses.dataclass(frozen=True)
class Scaling:
    """How a member of the family differs from B0: width, depth, side of its images, dropout before the logits."""

    width: float
    depth: float
    image_size: int
    dropout: float


SCALINGS = {
    "efficientnet_b0": Scaling(1.0, 1.0, 224, 0.2),
    "efficientnet_b1": Scaling(1.0, 1.1, 240, 0.2),
    "efficientnet_b2": Scaling(1.1, 1.2, 260, 0.3),
    "efficientnet_b3": Scaling(1.2, 1.4, 300, 0.3),
    "efficientnet_b4": Scaling(1.4, 1.8, 380, 0.4),
    "efficientnet_b5": Scaling(1.6, 2.2, 456, 0.4),
    "efficientnet_b6": Scaling(1.8, 2.6, 528, 0.5),
    "efficientnet_b7": Scaling(2.0, 3.1, 600, 0.5),
}


@dataclasses.dataclass(frozen=True)
class Stage:
    """A row of table 1: so many equal blocks, of which the first has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
_STEM_CHANNELS = 32
_HEAD_CHANNELS = 1280
_DIVISOR = 8
_SQUEEZE = 0.25
# He's normal distribution by the outputs, as the authors draw it. A depthwise filter reaches one output channel.
_HE = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_HE_DEPTHWISE = nn.initializers.variance_scaling(2.0, "fan_in", "normal")

Padding = Literal["same", "symmetric"]


def round_filters(channels: int, width: float) -> int:
    """Channels under the width multiplier: the nearest multiple of 8 that is not more than a tenth below."""
    scaled = channels * width
    rounded = max(_DIVISOR, int(scaled + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return rounded + _DIVISOR if rounded < 0.9 * scaled else rounded


def round_repeats(repeats: int, depth: float) -> int:
    """Blocks of a stage under the depth multiplier, rounded up."""
    return math.ceil(depth * repeats)


class EfficientNet(nn.Module):
    """EfficientNet (Tan and Le, 2019, table 1) up to its last block; the 1x1 convolution after it is in the head.

    [B, H, W, 3] preprocessed images -> five maps [B, ceil(H/s), ceil(W/s), C] in `dtype`, at strides 2 to 32: what
    the last block at each resolution puts out, before any activation.

    Attributes:
      width: multiplies every channel count, then rounded to multiples of 8 (`round_filters`).
      depth: multiplies the blocks of each stage, rounded up.
      stem_stride: of the first convolution; 1 doubles the resolution of all that follows.
      stochastic_depth: the rate at which training leaves out a block after the last, drawn for each example from
        "dropout"; it rises from 0 at the first block in equal steps, and only blocks with a shortcut can be left out.
      padding: "same" is TensorFlow's, which pads even sides of strided convolutions at the end only, for the authors'
        weights and those trained like them (timm's tf_efficientnet_*); "symmetric" is torch's, for torchvision's.
      epsilon: of batch normalisation. The authors' is 1e-3; torchvision's B0 to B4 were trained with 1e-5.
      momentum: of the running statistics.
      dtype: of the computation; parameters and running statistics are float32.
      axis_name: of the mapped axis over which training averages the batch statistics; None keeps each device's own.
      maps: how many maps are made, finest first, with nothing computed behind the last; None for all. `strides` and
        `channels` are always those of all.
    """

    width: float = 1.0
    depth: float = 1.0
    stem_stride: int = 2
    stochastic_depth: float = 0.2
    padding: Padding = "same"
    epsilon: float = 1e-3
    momentum: float = 0.99
    dtype: Any = jnp.float32
    axis_name: str | None = None
    maps: int | None = None

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the image from one position of each map to the next."""
        return tuple(self.stem_stride * 2**level for level in range(5))

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each map."""
        return tuple(round_filters(stage.channels, self.width) for i, stage in enumerate(STAGES) if _is_last(i))

    @property
    def repeats(self) -> tuple[int, ...]:
        """Blocks of each of the seven stages."""
        return tuple(round_repeats(stage.repeats, self.depth) for stage in STAGES)

    @nn.compact
    def __call__(
        self, images: Float[Array | np.ndarray, "batch height width 3"], *, train: bool = False
    ) -> tuple[Float[Array, "batch rows columns channels"], ...]:
        """Features at each resolution, finest first; `train` normalises by the batch and draws from "dropout"."""
        features = nn.Conv(
            round_filters(_STEM_CHANNELS, self.width),
            (3, 3),
            self.stem_stride,
            padding=_padding(self.padding, 3),
            use_bias=False,
            dtype=self.dtype,
            kernel_init=_HE,
            name="stem_conv",
        )(jnp.asarray(images, self.dtype))
        norm = _BatchNorm(train, self.epsilon, self.momentum, self.dtype, self.axis_name)
        features = nn.swish(norm("stem_bn")(features))
        maps = []
        done, blocks = 0, sum(self.repeats)
        for i, (stage, repeats) in enumerate(zip(STAGES, self.repeats, strict=True)):
            for block in range(repeats):
                layer = _Block(
                    round_filters(stage.channels, self.width),
                    stage.expansion,
                    stage.kernel,
                    stage.stride if block == 0 else 1,
                    self.padding,
                    self.stochastic_depth * done / blocks,
                    self.dtype,
                    name=f"stage{i}_block{block}",
                )
                features = layer(features, norm)
                done += 1
            if _is_last(i):
                maps.append(features)
                if len(maps) == self.maps:
                    break
        return tuple(maps)


@dataclasses.dataclass(frozen=True)
class _BatchNorm:
    """Makes the batch normalisations of one call."""

    train: bool
    epsilon: float
    momentum: float
    dtype: Any
    axis_name: str | None

    def __call__(self, name: str) -> nn.BatchNorm:
        return nn.BatchNorm(
            use_running_average=not self.train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            dtype=self.dtype,
            axis_name=self.axis_name,
            name=name,
        )


class _Block(nn.Module):
    """Mobile inverted bottleneck: expansion, depthwise convolution, squeeze and excitation, projection."""

    channels: int
    expansion: int
    kernel: int
    stride: int
    padding: Padding
    drop_rate: float
    dtype: Any

    @nn.compact
    def __call__(self, features: Array, norm: _BatchNorm) -> Array:
        inputs, wide = features.shape[-1], features.shape[-1] * self.expansion
        residual = features
        if self.expansion != 1:
            residual = nn.swish(norm("expand_bn")(self._pointwise(residual, wide, "expand_conv")))
        residual = DepthwiseConvolution(
            self.kernel,
            self.stride,
            padding=_padding(self.padding, self.kernel),
            dtype=self.dtype,
            kernel_init=_HE_DEPTHWISE,
            name="depthwise",
        )(residual)
        residual = nn.swish(norm("depthwise_bn")(residual))
        residual = residual * self._excitation(residual, max(1, int(inputs * _SQUEEZE)))[:, None, None]
        residual = norm("project_bn")(self._pointwise(residual, self.channels, "project_conv"))
        if self.stride != 1 or inputs != self.channels:
            return residual
        # One draw an example for the whole residual: stochastic depth (Huang et al., 2016).
        drop = nn.Dropout(self.drop_rate, broadcast_dims=(1, 2, 3), deterministic=not norm.train)
        return features + drop(residual)

    def _pointwise(self, features: Array, channels: int, name: str) -> Array:
        return PointwiseConvolution(channels, dtype=self.dtype, kernel_init=_HE, name=name)(features)

    def _excitation(self, features: Array, squeezed: int) -> Array:
        """Weights in 0..1 of an image's channels; `squeezed` follows the block's input, not the expanded features."""
        pooled = jnp.mean(features, axis=(1, 2), dtype=jnp.float32)
        hidden = nn.swish(nn.Dense(squeezed, dtype=self.dtype, kernel_init=_HE, name="squeeze")(pooled))
        return nn.sigmoid(nn.Dense(features.shape[-1], dtype=self.dtype, kernel_init=_HE, name="excite")(hidden))


class EfficientNetHead(nn.Module):
    """The last 1x1 convolution, swish and the global average pool: [B, H, W, C] -> [B, 1280 * width], float32.

    Attributes as of `EfficientNet`, and alike in both.
    """

    width: float = 1.0
    epsilon: float = 1e-3
    momentum: float = 0.99
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, features: Float[Array | np.ndarray, "batch rows columns channels"], *, train: bool = False
    ) -> Float[Array, "batch pooled"]:
        """The mean over all positions."""
        channels = round_filters(_HEAD_CHANNELS, self.width)
        features = PointwiseConvolution(channels, dtype=self.dtype, kernel_init=_HE, name="head_conv")(features)
        norm = _BatchNorm(train, self.epsilon, self.momentum, self.dtype, self.axis_name)
        features = nn.swish(norm("head_bn")(features))
        return jnp.mean(features, axis=(1, 2), dtype=jnp.float32)


def _is_last(stage: int) -> bool:
    """Whether the resolution falls after the stage, or nothing follows."""
    return stage + 1 == len(STAGES) or STAGES[stage + 1].stride != 1


def _padding(padding: Padding, kernel: int) -> Literal["SAME"] | int:
    return "SAME" if padding == "same" else kernel // 2
