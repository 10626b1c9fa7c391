"""VGG-16 up to conv5_3: the backbone of both towers."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# (first channels, convolutions) of each stage, configuration D of the paper.
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
LAYERS = tuple(f"conv{stage}_{i}" for stage, (_, count) in enumerate(STAGES, 1) for i in range(1, count + 1))


def scaled(channels: int, width: float) -> int:
    """Channel count of a layer under the width multiplier, at least one."""
    return max(1, round(channels * width))


def max_pool_2x2(
    features: Float[Array | np.ndarray, "batch height width channels"],
) -> Float[Array, "batch rows columns channels"]:
    """Largest of each 2x2 window, stride 2.

    An odd side keeps its last row or column in a window of its own (the authors' SAME padding), so that no position
    of the image is dropped: [B, H, W, C] -> [B, ceil(H/2), ceil(W/2), C].

    Where several values of a window are equal and largest the gradient is shared among them, where
    `flax.linen.max_pool` gives it to the first. Both are subgradients; this one needs no scatter, which is the
    slower backward on CPU and on some accelerators.
    """
    batch, height, width, channels = features.shape
    if height % 2 or width % 2:
        features = jnp.pad(features, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), constant_values=-jnp.inf)
    rows, columns = (height + 1) // 2, (width + 1) // 2
    return features.reshape(batch, rows, 2, columns, 2, channels).max(axis=(2, 4))


class VGG16(nn.Module):
    """The thirteen convolutions of VGG-16 (Simonyan and Zisserman, 2015, configuration D) with ReLU, stride 16.

    [B, H, W, 3] preprocessed images -> [B, ceil(H/16), ceil(W/16), 512 * width] after the ReLU of conv5_3, in `dtype`.

    Attributes:
      width: multiplies every channel count.
      dtype: of the computation; parameters are float32.
    """

    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array | np.ndarray, "batch height width 3"]
    ) -> Float[Array, "batch rows columns channels"]:
        """Features of conv5_3 after its ReLU."""
        features = images.astype(self.dtype)
        for stage, (channels, count) in enumerate(STAGES, 1):
            if stage > 1:
                features = max_pool_2x2(features)
            for i in range(1, count + 1):
                # He rather than Glorot: thirteen ReLUs in a row each halve the signal's second moment, which only
                # the factor 2 / fan_in makes up for; under Glorot conv5_3 starts some 2^6 times smaller.
                convolution = nn.Conv(
                    scaled(channels, self.width),
                    (3, 3),
                    dtype=self.dtype,
                    kernel_init=nn.initializers.he_normal(),
                    name=f"conv{stage}_{i}",
                )
                features = nn.relu(convolution(features))
        return features
