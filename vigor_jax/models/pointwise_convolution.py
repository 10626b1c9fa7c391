"""A linear layer at every position of a map, in the form that the platform computes fast."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class PointwiseConvolution(nn.Module):
    """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), channels] in `dtype`: a 1x1 convolution, no bias.

    Its one parameter, `kernel` [1, 1, C, channels] in float32, is that of `flax.linen.Conv`, and so is the result, to
    rounding. On CPUs it is one matrix product, with its gradients about twice as fast as XLA's convolution there
    (docs/performance.md).

    Attributes:
      channels: of the result.
      stride: of both axes; positions between are not looked at.
      kernel_init: of the parameter.
      dtype: of the computation.
    """

    channels: int
    stride: int = 1
    kernel_init: Callable[..., Array] = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array | np.ndarray, "batch height width inputs"]
    ) -> Float[Array, "batch rows columns outputs"]:
        """The map."""
        images = jnp.asarray(images, self.dtype)[:, :: self.stride, :: self.stride]
        kernel = self.param("kernel", self.kernel_init, (1, 1, images.shape[-1], self.channels), jnp.float32)
        return jax.lax.platform_dependent(
            images, jnp.asarray(kernel, self.dtype), cpu=matrix_product, default=convolution
        )


def matrix_product(
    images: Float[Array, "batch height width inputs"], kernel: Float[Array, "1 1 inputs outputs"]
) -> Float[Array, "batch height width outputs"]:
    """All positions of all images as the rows of one matrix."""
    rows = images.reshape(-1, images.shape[-1])
    return (rows @ kernel[0, 0]).reshape(*images.shape[:-1], kernel.shape[-1])


def convolution(
    images: Float[Array, "batch height width inputs"], kernel: Float[Array, "1 1 inputs outputs"]
) -> Float[Array, "batch height width outputs"]:
    """What `matrix_product` computes, as accelerators compute it fast."""
    return jax.lax.conv_general_dilated(images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
