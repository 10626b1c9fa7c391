"""A filter of its own for each channel, in the form that the platform computes fast."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class DepthwiseConvolution(nn.Module):
    """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), C] in `dtype`: padded as TensorFlow's SAME, no bias.

    Its one parameter, `kernel` [size, size, 1, C] in float32, is that of `flax.linen.Conv` with as many groups as
    channels, and so is the result, to rounding.

    On CPUs XLA has no fast form of a grouped convolution, least of all of its gradient. There it is a sum of shifted
    images, each times its weights (`shifted_sum`): with its gradient 8 to 40 times as fast at the sizes of a MobileNet.

    Attributes:
      size: side of the window.
      stride: of both axes.
      kernel_init: of the parameter.
      dtype: of the computation.
    """

    size: int = 3
    stride: int = 1
    kernel_init: Callable[..., Array] = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array | np.ndarray, "batch height width channels"]
    ) -> Float[Array, "batch rows columns channels"]:
        """The filtered images."""
        images = jnp.asarray(images, self.dtype)
        kernel = self.param("kernel", self.kernel_init, (self.size, self.size, 1, images.shape[-1]), jnp.float32)
        return jax.lax.platform_dependent(
            images,
            jnp.asarray(kernel, self.dtype),
            cpu=lambda images, kernel: shifted_sum(images, kernel, self.stride),
            default=lambda images, kernel: _grouped(images, kernel, self.stride),
        )


def shifted_sum(
    images: Float[Array, "batch height width channels"], kernel: Float[Array, "size size 1 channels"], stride: int
) -> Float[Array, "batch rows columns channels"]:
    """The convolution as a sum over the positions of the window, in float32, in the type of the images."""
    size = kernel.shape[0]
    outputs = [-(-side // stride) for side in images.shape[1:3]]
    missing = [max((out - 1) * stride + size - side, 0) for out, side in zip(outputs, images.shape[1:3], strict=True)]
    margins = [(0, 0), *((each // 2, each - each // 2) for each in missing), (0, 0)]
    padded, kernel = jnp.pad(images, margins).astype(jnp.float32), kernel.astype(jnp.float32)
    total = jnp.zeros((), jnp.float32)
    for row in range(size):
        for column in range(size):
            rows, columns = (
                slice(first, first + (out - 1) * stride + 1, stride)
                for first, out in zip((row, column), outputs, strict=True)
            )
            total = total + padded[:, rows, columns] * kernel[row, column]
    return total.astype(images.dtype)


def _grouped(images: Array, kernel: Array, stride: int) -> Array:
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=images.shape[-1],
    )
