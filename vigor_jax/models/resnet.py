"""ResNet with bottleneck blocks: ResNet-50, ResNet-101 and whatever lies between and beyond."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vigor_jax.models.pointwise_convolution import PointwiseConvolution

# Bottlenecks of each stage in table 1 of the paper.
DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}

_EXPANSION = 4  # a bottleneck puts out four times the channels of its 3x3 convolution
_HE = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ResNet(nn.Module):
    """ResNet of bottlenecks (He et al., 2016, table 1) in its version 1.5, stride 32.

    [B, H, W, 3] preprocessed images -> four maps [B, ceil(H/s), ceil(W/s), C], one a stage after its last ReLU, in
    `dtype`. Version 1.5 puts the stride of a stage's first block on the 3x3 convolution, as torchvision's and Hugging
    Face's weights have it; the paper put it on the 1x1 convolution before, which never saw three of four positions.

    Attributes:
      depths: bottlenecks of each stage, `DEPTHS["resnet50"]`.
      width: channels of the stem; stage i puts out 4 * width * 2^i.
      momentum: of the running statistics.
      dtype: of the computation; parameters and running statistics are float32.
      axis_name: of the mapped axis over which training averages the batch statistics; None keeps each device's own.
      maps: how many maps are made, finest first, with nothing computed behind the last; None for all. `strides` and
        `channels` are always those of all.
    """

    depths: tuple[int, ...] = DEPTHS["resnet50"]
    width: int = 64
    momentum: float = 0.9
    dtype: Any = jnp.float32
    axis_name: str | None = None
    maps: int | None = None

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the image from one position of each stage's map to the next."""
        return tuple(4 * 2**stage for stage in range(len(self.depths)))

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each stage's map."""
        return tuple(_EXPANSION * self.width * 2**stage for stage in range(len(self.depths)))

    @nn.compact
    def __call__(
        self, images: Float[Array | np.ndarray, "batch height width 3"], *, train: bool = False
    ) -> tuple[Float[Array, "batch rows columns channels"], ...]:
        """Features of each stage, finest first; `train` normalises by the batch and updates "batch_stats"."""
        features = jnp.asarray(images, self.dtype)
        # Padded alike on both sides, as torch does: SAME would pad even sides at the end alone.
        features = nn.Conv(
            self.width, (7, 7), 2, padding=3, use_bias=False, dtype=self.dtype, kernel_init=_HE, name="conv1"
        )(features)
        features = nn.relu(_batch_norm("bn1", train, self.momentum, self.dtype, self.axis_name)(features))
        features = nn.max_pool(features, (3, 3), (2, 2), ((1, 1), (1, 1)))
        stages = []
        for stage, depth in enumerate(self.depths[: self.maps]):
            for block in range(depth):
                bottleneck = _Bottleneck(
                    self.width * 2**stage,
                    stride=2 if stage > 0 and block == 0 else 1,
                    momentum=self.momentum,
                    dtype=self.dtype,
                    axis_name=self.axis_name,
                    name=f"layer{stage + 1}_{block}",
                )
                features = bottleneck(features, train)
            stages.append(features)
        return tuple(stages)


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    channels: int
    stride: int
    momentum: float
    dtype: Any
    axis_name: str | None

    @nn.compact
    def __call__(self, features: Array, train: bool) -> Array:
        def convolved(inputs: Array, channels: int, size: int, stride: int, name: str) -> Array:
            options = {"dtype": self.dtype, "kernel_init": _HE, "name": name}
            if size == 1:
                return PointwiseConvolution(channels, stride, **options)(inputs)
            convolution = nn.Conv(channels, (size, size), stride, padding=size // 2, use_bias=False, **options)
            return convolution(inputs)

        def normalised(inputs: Array, name: str, scale: nn.initializers.Initializer = nn.initializers.ones) -> Array:
            return _batch_norm(name, train, self.momentum, self.dtype, self.axis_name, scale)(inputs)

        out = _EXPANSION * self.channels
        residual = nn.relu(normalised(convolved(features, self.channels, 1, 1, "conv1"), "bn1"))
        residual = nn.relu(normalised(convolved(residual, self.channels, 3, self.stride, "conv2"), "bn2"))
        # Zero at first, so that every block starts as its shortcut (Goyal et al., 2017, section 5.1).
        residual = normalised(convolved(residual, out, 1, 1, "conv3"), "bn3", nn.initializers.zeros)
        if features.shape[-1] != out or self.stride != 1:
            features = normalised(convolved(features, out, 1, self.stride, "downsample_conv"), "downsample_bn")
        return nn.relu(features + residual)


class ResNetHead(nn.Module):
    """Global average pool of the last map: [B, H, W, C] -> [B, C], float32."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[Array | np.ndarray, "batch rows columns channels"], *, train: bool = False
    ) -> Float[Array, "batch channels"]:
        """The mean over all positions."""
        return jnp.mean(features, axis=(1, 2), dtype=jnp.float32)


def _batch_norm(
    name: str,
    train: bool,
    momentum: float,
    dtype: Any,
    axis_name: str | None,
    scale: nn.initializers.Initializer = nn.initializers.ones,
) -> nn.BatchNorm:
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=momentum,
        epsilon=1e-5,
        dtype=dtype,
        scale_init=scale,
        axis_name=axis_name,
        name=name,
    )
