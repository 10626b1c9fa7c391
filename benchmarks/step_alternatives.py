"""Other ways to compute what the training step computes, each as a replacement of one function while it is traced."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from vigor_jax.models import vgg
from vigor_jax.models.cross_view import CrossViewModel

_NHWC = ("NHWC", "HWIO", "NHWC")
_plain_convolution = lax.conv_general_dilated
Convolution = Callable[[jax.Array, jax.Array], jax.Array]


def _convolution(images: jax.Array, kernel: jax.Array) -> jax.Array:
    return _plain_convolution(images, kernel, (1, 1), "SAME", dimension_numbers=_NHWC)


@contextlib.contextmanager
def _convolutions_by(convolution: Convolution, first_layer: bool | None = None) -> Iterator[None]:
    """Computes 3x3 convolutions so: all, or only the first layer's, or all others."""

    def replaced(images, kernel, *args, **kwargs):
        if kernel.shape[:2] == (3, 3) and first_layer in (None, images.shape[-1] == 3):
            return convolution(images, kernel)
        return _plain_convolution(images, kernel, *args, **kwargs)

    with mock.patch.object(lax, "conv_general_dilated", replaced):
        yield


def pool_by_reduction() -> contextlib.AbstractContextManager:
    """One maximum over both axes of the window; its gradient counts the equal ones of each."""

    def pool(features):
        batch, height, width, channels = features.shape
        return features.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))

    return mock.patch.object(vgg, "max_pool_2x2", pool)


def pool_by_window() -> contextlib.AbstractContextManager:
    """`flax.linen.max_pool`: its gradient is a select-and-scatter."""
    return mock.patch.object(vgg, "max_pool_2x2", lambda features: nn.max_pool(features, (2, 2), (2, 2)))


def pool_before_relu() -> contextlib.AbstractContextManager:
    """The ReLU on a quarter of the values; the largest is the same before and after it."""
    # The last ReLU of a stage is the first of its pooled features, which are not negative then.
    relu, pool = nn.relu, vgg.max_pool_2x2

    def pooled_stage(self, features, stage):
        last = vgg.CONVOLUTIONS[self.configuration][stage - 1]
        seen = []

        def all_but_the_last(values):
            seen.append(None)
            return values if len(seen) == last else relu(values)

        with mock.patch.object(vgg.nn, "relu", all_but_the_last):
            features = self._stage(features, stage)
        return relu(features), relu(pool(features))

    return mock.patch.object(vgg.VGG, "_pooled_stage", pooled_stage)


def first_layer_padded(channels: int) -> contextlib.AbstractContextManager:
    """The image's three channels beside zeros."""

    def convolution(images, kernel):
        more = (0, channels - images.shape[-1])
        none = (0, 0)
        return _convolution(jnp.pad(images, (none, none, none, more)), jnp.pad(kernel, (none, none, more, none)))

    return _convolutions_by(convolution, first_layer=True)


def first_layer_as_matrix() -> contextlib.AbstractContextManager:
    """The 27 values under the kernel beside each other, and one matrix product."""
    return _convolutions_by(_by_patches, first_layer=True)


def first_layer_in_blocks() -> contextlib.AbstractContextManager:
    """Four pixels of a row as one position of twelve channels: four times the operations, most of them with zeros."""

    def convolution(images, kernel):
        block = 4
        batch, height, width, channels = images.shape
        wide = jnp.zeros((3, 3 * block, channels, block, kernel.shape[-1]), kernel.dtype)
        for pixel in range(block):
            wide = wide.at[:, block + pixel - 1 : block + pixel + 2, :, pixel].set(kernel)
        blocks = images.reshape(batch, height, width // block, block * channels)
        return _convolution(blocks, wide.reshape(3, 3, block * channels, -1)).reshape(batch, height, width, -1)

    return _convolutions_by(_with_plain_gradient(convolution), first_layer=True)


def channels_first() -> contextlib.AbstractContextManager:
    """Convolutions that are written for NCHW."""

    def convolution(images, kernel):
        result = _plain_convolution(images.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1), (1, 1), "SAME")
        return result.transpose(0, 2, 3, 1)

    return _convolutions_by(convolution)


def as_matrix_products() -> contextlib.AbstractContextManager:
    """Every convolution as one matrix product of what lies under the kernel."""
    return _convolutions_by(_by_patches)


def kernel_gradient_as_products() -> contextlib.AbstractContextManager:
    """The gradient of a kernel as nine matrix products an image, one a tap; forward and the input's as they are."""

    def backward(kept, gradient):
        images, kernel = kept
        (to_images,) = jax.vjp(lambda images: _convolution(images, kernel), images)[1](gradient)
        height, width = images.shape[1:3]
        padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
        taps = [
            jnp.einsum("bhwc,bhwd->bcd", padded[:, i : i + height, j : j + width], gradient).sum(0)
            for i in range(3)
            for j in range(3)
        ]
        to_kernel = jnp.stack(taps).reshape(kernel.shape).astype(kernel.dtype)
        # In the mapped step every device has the same kernel, and the gradient of a sum with it is added up over them.
        return to_images, jax.vjp(lambda kernel: kernel + to_kernel, kernel)[1](to_kernel)[0]

    convolution = jax.custom_vjp(_convolution)
    convolution.defvjp(lambda images, kernel: (_convolution(images, kernel), (images, kernel)), backward)
    return _convolutions_by(convolution, first_layer=False)


def two_aerial_passes() -> contextlib.AbstractContextManager:
    """Positive and semi-positive tiles one after the other through the aerial tower."""
    together = CrossViewModel.describe_aerial

    @functools.wraps(together)
    def describe_aerial(self, images, *, train=False):
        half = len(images) // 2
        return jnp.concatenate([together(self, part, train=train) for part in (images[:half], images[half:])])

    return mock.patch.object(CrossViewModel, "describe_aerial", describe_aerial)


def _by_patches(images: jax.Array, kernel: jax.Array) -> jax.Array:
    height, width = images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = jnp.concatenate([padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=-1)
    return jnp.matmul(patches, kernel.reshape(-1, kernel.shape[-1]))


def _with_plain_gradient(convolution: Convolution) -> Convolution:
    """For another form of the forward pass alone."""
    replaced = jax.custom_vjp(convolution)
    replaced.defvjp(
        lambda images, kernel: (convolution(images, kernel), (images, kernel)),
        lambda kept, gradient: jax.vjp(_convolution, *kept)[1](gradient),
    )
    return replaced
