"""A filter of its own for each channel, in the form that the platform computes fast."""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vigor_jax.models.shifted_sum import Margins, shifted_sum


class DepthwiseConvolution(nn.Module):
    """[B, H, W, C] -> [B, rows, columns, C] in `dtype`.

    Its parameters, `kernel` [size, size, 1, C] and `bias` [C] in float32, are those of `flax.linen.Conv` with as many
    groups as channels, and so is the result, to rounding. On CPUs it is a `shifted_sum`, several times as fast as
    XLA's grouped convolution there (docs/performance.md).

    Attributes:
      size: side of the window.
      stride: of both axes.
      padding: zeros on every side, or as TensorFlow's SAME: [B, ceil(H / stride), ceil(W / stride), C] come out.
      use_bias: add a constant to each channel.
      kernel_init: of the kernel; the bias begins with zeros.
      dtype: of the computation.
    """

    size: int = 3
    stride: int = 1
    padding: Literal["SAME"] | int = "SAME"
    use_bias: bool = False
    kernel_init: Callable[..., Array] = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array | np.ndarray, "batch height width channels"]
    ) -> Float[Array, "batch rows columns channels"]:
        """The filtered images."""
        images, channels = jnp.asarray(images, self.dtype), images.shape[-1]
        kernel = self.param("kernel", self.kernel_init, (self.size, self.size, 1, channels), jnp.float32)
        margins = self.margins(*images.shape[1:3])
        filtered = jax.lax.platform_dependent(
            images,
            jnp.asarray(kernel, self.dtype),
            cpu=lambda images, kernel: shifted_sum(images, kernel, self.stride, margins),
            default=lambda images, kernel: grouped_convolution(images, kernel, self.stride, margins),
        )
        if not self.use_bias:
            return filtered
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        return filtered + jnp.asarray(bias, self.dtype)

    def margins(self, height: int, width: int) -> Margins:
        """Zeros before and after the rows, and the columns, of images of these sides."""
        if self.padding != "SAME":
            return ((self.padding, self.padding), (self.padding, self.padding))
        rows, columns = jax.lax.padtype_to_pads((height, width), (self.size,) * 2, (self.stride,) * 2, "SAME")
        return tuple(rows), tuple(columns)


def grouped_convolution(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size 1 channels"],
    stride: int,
    margins: Margins,
) -> Float[Array, "batch rows columns channels"]:
    """What `shifted_sum` computes, as accelerators compute it fast; of the same arguments."""
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        (stride, stride),
        margins,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=images.shape[-1],
    )
