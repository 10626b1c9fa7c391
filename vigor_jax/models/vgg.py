"""VGG in the six configurations of its paper, and the fully connected layers over it."""

import functools
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from vigor_jax.errors import UserError
from vigor_jax.models.local_response_normalisation import local_response_normalisation

Configuration = Literal["A", "A-LRN", "B", "C", "D", "E"]
Initialisation = Literal["he", "glorot", "normal"]

_CHANNELS = (64, 128, 256, 512, 512)
_HIDDEN = 4096  # of fc6 and fc7
# Convolutions of each stage in table 1 of the paper.
CONVOLUTIONS: dict[Configuration, tuple[int, ...]] = {
    "A": (1, 1, 2, 2, 2),
    "A-LRN": (1, 1, 2, 2, 2),
    "B": (2, 2, 2, 2, 2),
    "C": (2, 2, 3, 3, 3),
    "D": (2, 2, 3, 3, 3),
    "E": (2, 2, 4, 4, 4),
}
# By the number of layers with weights, as everybody calls them; the paper has the letters.
NAMES: dict[str, Configuration] = {
    "vgg11": "A",
    "vgg11_lrn": "A-LRN",
    "vgg13": "B",
    "vgg16_1x1": "C",
    "vgg16": "D",
    "vgg19": "E",
}
# Of kernels; biases start from zero. See `VGG`.
_INITIALISERS: dict[Initialisation, nn.initializers.Initializer] = {
    "he": nn.initializers.he_normal(),
    "glorot": nn.initializers.glorot_uniform(),
    "normal": nn.initializers.normal(0.01),
}


def layers(configuration: Configuration) -> tuple[str, ...]:
    """Names of a configuration's convolutions, from conv1_1 on."""
    counts = CONVOLUTIONS[configuration]
    return tuple(f"conv{stage}_{i}" for stage, count in enumerate(counts, 1) for i in range(1, count + 1))


def kernel_size(configuration: Configuration, stage: int, i: int) -> int:
    """Side of the kernel of conv{stage}_{i}: 3, but 1 of the third convolutions of C."""
    return 1 if configuration == "C" and i == 3 else 3


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
    backward, it fuses with what is around it and keeps less (docs/performance.md).
    """
    batch, height, width, channels = features.shape
    if height % 2 or width % 2:
        features = jnp.pad(features, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), constant_values=-jnp.inf)
    rows, columns = (height + 1) // 2, (width + 1) // 2
    windows = features.reshape(batch, rows, 2, columns, 2, channels)
    pairs = jnp.maximum(windows[:, :, 0], windows[:, :, 1])
    return jnp.maximum(pairs[:, :, :, 0], pairs[:, :, :, 1])


class VGG(nn.Module):
    """The convolutions of VGG (Simonyan and Zisserman, 2015, arXiv 1409.1556, table 1) with ReLU.

    [B, H, W, 3] preprocessed images -> five maps [B, ceil(H/s), ceil(W/s), C] of strides 1, 2, 4, 8, 16 in `dtype`;
    64, 128, 256, 512, 512 channels at width 1. Each is what the stage's pool takes, after its last ReLU (conv5_3 in
    VGG-16); the fifth pool is `VGGHead`'s.

    A-LRN has a local response normalisation after the ReLU of its first convolution; the paper found that it does not
    help.

    `initialisation` is where kernels start from:
      "he": normal, variance 2 / fan-in (He et al., 2015). Not in the paper; the one that sixteen layers train from.
      "glorot": uniform, variance 2 / (fan-in + fan-out), which the paper found, after its submission, to do without a
        shallower network (section 3.1).
      "normal": standard deviation 0.01. The paper prints "10^-2 variance", which would be a standard deviation of 0.1,
        under which each layer of 512 channels makes numbers some five times larger; 0.01 is what AlexNet
        starts from. Only A trains from it, and the deeper ones once layers of A are in them: `vgg_from_shallower`.

    Attributes:
      configuration: a letter of the paper's table 1. "D" is VGG-16; "A" is VGG-11, the one that the paper could train
        from random weights.
      width: multiplies every channel count.
      dtype: of the computation; parameters are float32.
      remat: keep only what passes between the stages and compute the rest again in the backward pass. The last stage
        is kept whole, for the backward pass begins with it. It saves little where a loss sees the finer maps too.
      initialisation: of the kernels; biases are zero.
      maps: how many maps are made, finest first, with nothing computed behind the last; None for all. `strides` and
        `channels` are always those of all.
    """

    configuration: Configuration = "D"
    width: float = 1.0
    dtype: Any = jnp.float32
    remat: bool = False
    initialisation: Initialisation = "he"
    maps: int | None = None

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the image from one position to the next, in each of the maps."""
        return (1, 2, 4, 8, 16)

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each of the maps."""
        return tuple(scaled(channels, self.width) for channels in _CHANNELS)

    @nn.compact
    def __call__(
        self, images: Float[Array | np.ndarray, "batch height width 3"], *, train: bool = False
    ) -> tuple[Float[Array, "batch rows columns channels"], ...]:
        """Features before each pool, finest first; `train` changes nothing."""
        features = jnp.asarray(images, self.dtype)
        maps = []
        last = len(_CHANNELS)
        for stage in range(1, last):
            # With its pool, so that a quarter of its features is what is kept.
            block = functools.partial(VGG._pooled_stage, stage=stage)
            finest, features = (nn.remat(block) if self.remat else block)(self, features)
            maps.append(finest)
            if stage == self.maps:
                return tuple(maps)
        return (*maps, self._stage(features, last))

    def _pooled_stage(self, features: Array, stage: int) -> tuple[Array, Array]:
        features = self._stage(features, stage)
        return features, max_pool_2x2(features)

    def _stage(self, features: Array, stage: int) -> Array:
        for i in range(1, CONVOLUTIONS[self.configuration][stage - 1] + 1):
            size = kernel_size(self.configuration, stage, i)
            # By default He rather than Glorot: thirteen ReLUs in a row each halve the signal's second moment, which
            # only the factor 2 / fan_in makes up for; under Glorot conv5_3 starts some 600 times smaller.
            convolution = nn.Conv(
                self.channels[stage - 1],
                (size, size),
                dtype=self.dtype,
                kernel_init=_INITIALISERS[self.initialisation],
                name=f"conv{stage}_{i}",
            )
            features = nn.relu(convolution(features))
        if self.configuration == "A-LRN" and stage == 1:
            features = local_response_normalisation(features)
        return features


class VGGHead(nn.Module):
    """The last pool and the two hidden fully connected layers, at every place of the map where they fit.

    [B, h, w, C] last map -> [B, 4096 * width] float32: the mean of fc7 over all places.

    fc6 is a convolution over `positions` x `positions` of the pooled map and fc7 one over 1 x 1, as the paper turns
    them for testing (section 3.2). Where the map is as large as that there is one place, and they are the fully
    connected layers of training; on a larger image they slide over it by 32 pixels. The paper averages the map of class
    scores; scores are a linear function of fc7, so those of the mean are the mean of those.

    Attributes:
      positions: side of the pooled map that fc6 covers: image side / 32, rounded up, so 7 for the paper's 224 pixels.
      width: multiplies the channel counts.
      dropout: share that training leaves out of fc6 and of fc7; draws from the rng "dropout".
      dtype: of the computation; parameters are float32.
      initialisation: of the kernels; see `VGG`.

    Raises:
      UserError: the image is too small for fc6.
    """

    positions: int = 7
    width: float = 1.0
    dropout: float = 0.5
    dtype: Any = jnp.float32
    initialisation: Initialisation = "he"

    @nn.compact
    def __call__(
        self, features: Float[Array | np.ndarray, "batch rows columns channels"], *, train: bool = False
    ) -> Float[Array, "batch hidden"]:
        """Features of the image; with `train` and dropout it needs the rng "dropout"."""
        side = self.positions
        features = max_pool_2x2(jnp.asarray(features, self.dtype))
        if min(features.shape[1:3]) < side:
            rows, columns = features.shape[1:3]
            raise UserError(
                f"VGG's first fully connected layer covers {side} x {side} positions, images of {32 * side} pixels; "
                f"this image has {rows} x {columns}. Give larger images, or make the classifier for smaller ones "
                "(image_size)."
            )
        options = {"dtype": self.dtype, "kernel_init": _INITIALISERS[self.initialisation]}
        hidden = scaled(_HIDDEN, self.width)
        dropout = nn.Dropout(self.dropout, deterministic=not train)
        fc6 = nn.Conv(
            hidden, (side, side), padding="VALID", conv_general_dilated=_convolution_or_product, name="fc6", **options
        )
        features = dropout(nn.relu(fc6(features)))
        # At every place by itself, which is what a convolution over 1 x 1 does.
        features = dropout(nn.relu(nn.Dense(hidden, name="fc7", **options)(features)))
        return jnp.mean(features, axis=(1, 2), dtype=jnp.float32)


def _convolution_or_product(features: Array, kernel: Array, *arguments: Any, **options: Any) -> Array:
    """A convolution; where the kernel is as large as the map, the one product that it is.

    As a convolution its gradient would be one over a map padded on all sides, which is mostly zeros.
    """
    if features.shape[1:3] != kernel.shape[:2]:
        return lax.conv_general_dilated(features, kernel, *arguments, **options)
    return lax.dot_general(features, kernel, (((1, 2, 3), (0, 1, 2)), ((), ())))[:, None, None]
