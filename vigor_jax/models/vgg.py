"""VGG up to its last convolution: the backbone of both towers."""

import functools
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_CHANNELS = (64, 128, 256, 512, 512)
# Convolutions of each stage in table 1 of the paper: A is VGG-11, D is VGG-16.
CONVOLUTIONS = {"A": (1, 1, 2, 2, 2), "D": (2, 2, 3, 3, 3)}


def layers(configuration: Literal["A", "D"]) -> tuple[str, ...]:
    """Names of a configuration's convolutions, from conv1_1 on."""
    counts = CONVOLUTIONS[configuration]
    return tuple(f"conv{stage}_{i}" for stage, count in enumerate(counts, 1) for i in range(1, count + 1))


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
    `flax.linen.max_pool` gives it to the first. Both are subgradients; this one needs no scatter. It is two maxima of
    two rather than one reduction over the window, whose gradient first counts the equal ones: elementwise forward and
    backward, it fuses with what is around it and keeps less (`benchmarks/step_candidates.py` measures all three).
    """
    batch, height, width, channels = features.shape
    if height % 2 or width % 2:
        features = jnp.pad(features, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), constant_values=-jnp.inf)
    rows, columns = (height + 1) // 2, (width + 1) // 2
    windows = features.reshape(batch, rows, 2, columns, 2, channels)
    pairs = jnp.maximum(windows[:, :, 0], windows[:, :, 1])
    return jnp.maximum(pairs[:, :, :, 0], pairs[:, :, :, 1])


class VGG(nn.Module):
    """The convolutions of VGG (Simonyan and Zisserman, 2015) with ReLU, stride 16.

    [B, H, W, 3] preprocessed images -> [B, ceil(H/16), ceil(W/16), 512 * width] after the last ReLU (conv5_3 in
    VGG-16), in `dtype`.

    Attributes:
      configuration: "D" is VGG-16; "A" is VGG-11, the one that the paper could train from random weights.
      width: multiplies every channel count.
      dtype: of the computation; parameters are float32.
      remat: keep only what passes between the stages and compute the rest again in the backward pass. The last stage
        is kept whole, for the backward pass begins with it.
    """

    configuration: Literal["A", "D"] = "D"
    width: float = 1.0
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, images: Float[Array | np.ndarray, "batch height width 3"]
    ) -> Float[Array, "batch rows columns channels"]:
        """Features of the last convolution after its ReLU."""
        features = jnp.asarray(images, self.dtype)
        last = len(_CHANNELS)
        for stage in range(1, last):
            # With its pool, so that a quarter of its features is what is kept.
            block = functools.partial(VGG._pooled_stage, stage=stage)
            features = (nn.remat(block) if self.remat else block)(self, features)
        return self._stage(features, last)

    def _pooled_stage(self, features: Array, stage: int) -> Array:
        return max_pool_2x2(self._stage(features, stage))

    def _stage(self, features: Array, stage: int) -> Array:
        for i in range(1, CONVOLUTIONS[self.configuration][stage - 1] + 1):
            # He rather than Glorot: thirteen ReLUs in a row each halve the signal's second moment, which only
            # the factor 2 / fan_in makes up for; under Glorot conv5_3 starts some 2^6 times smaller.
            convolution = nn.Conv(
                scaled(_CHANNELS[stage - 1], self.width),
                (3, 3),
                dtype=self.dtype,
                kernel_init=nn.initializers.he_normal(),
                name=f"conv{stage}_{i}",
            )
            features = nn.relu(convolution(features))
        return features
