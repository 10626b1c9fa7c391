"""A depthwise convolution in the form that CPUs compute fast: a sum of shifted images, and so its gradients."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Margins = tuple[tuple[int, int], tuple[int, int]]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def shifted_sum(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size 1 channels"],
    stride: int,
    margins: Margins,
) -> Float[Array, "batch rows columns channels"]:
    """The depthwise convolution as a sum over the positions of the window.

    XLA has no fast form of a grouped convolution for CPUs, least of all of its gradients. Differentiated in reverse
    only, for the gradients are written out below: those that JAX would find add up and reduce an array of the images'
    size for every position of the window. Under `shard_map` images and kernel must both vary over the devices then,
    as they do in `train.step`.

    Args:
      images: any floating type.
      kernel: the same filter everywhere, one for each channel.
      stride: of both axes.
      margins: zeros before and after the rows, and the columns.

    Returns:
      Summed in float32, in the type of the images.
    """
    padded = _padded(images, margins)
    rows, columns = ((side - kernel.shape[0]) // stride + 1 for side in padded.shape[1:3])
    return _windowed_sum(padded, kernel.astype(jnp.float32), stride, rows, columns).astype(images.dtype)


def _forward(images: Array, kernel: Array, stride: int, margins: Margins) -> tuple[Array, tuple[Array, Array]]:
    return shifted_sum(images, kernel, stride, margins), (images, kernel)


def _backward(stride: int, margins: Margins, kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    images, kernel = kept
    gradient = gradient.astype(jnp.float32)
    of_images = _gradient_of_images(images.shape, kernel.astype(jnp.float32), stride, margins, gradient)
    of_kernel = _gradient_of_kernel(_padded(images, margins), kernel.shape[0], stride, gradient)
    return of_images.astype(images.dtype), of_kernel.astype(kernel.dtype)


shifted_sum.defvjp(_forward, _backward)


def _padded(images: Array, margins: Margins) -> Array:
    return jnp.pad(images, [(0, 0), *margins, (0, 0)]).astype(jnp.float32)


def _windowed_sum(padded: Array, kernel: Array, stride: int, rows: int, columns: int) -> Array:
    total = jnp.zeros((), jnp.float32)
    for row in range(kernel.shape[0]):
        for column in range(kernel.shape[0]):
            reached = padded[:, _reached(row, rows, stride), _reached(column, columns, stride)]
            total = total + reached * kernel[row, column]
    return total


def _reached(position: int, windows: int, stride: int) -> slice:
    """Of a padded side, what lies under one position of the window in all its places."""
    return slice(position, position + (windows - 1) * stride + 1, stride)


def _gradient_of_images(shape: tuple[int, ...], kernel: Array, stride: int, margins: Margins, gradient: Array) -> Array:
    """A sum of shifted gradients: the window turned by half a circle, over gradients `stride` apart."""
    size, (_, height, width, _) = kernel.shape[0], shape
    spread = []
    for (before, _), out, side in zip(margins, gradient.shape[1:3], (height, width), strict=True):
        first = size - 1 - before
        # What no window reached, beyond the last one, gets zeros; a margin wider than the window takes away.
        spread.append((first, side + size - 1 - first - ((out - 1) * stride + 1), stride - 1))
    apart = jax.lax.pad(gradient, jnp.float32(0), [(0, 0, 0), *spread, (0, 0, 0)])
    return _windowed_sum(apart, kernel[::-1, ::-1], 1, height, width)


def _gradient_of_kernel(padded: Array, size: int, stride: int, gradient: Array) -> Array:
    """Row by row, so that the rows that a window reaches are still in the cache for its every position."""
    by_row, columns = jnp.moveaxis(padded, 1, 0), gradient.shape[2]

    def of_one(row_and_gradient: tuple[Array, Array]) -> Array:
        row, of_row = row_and_gradient
        lines = jax.lax.dynamic_slice_in_dim(by_row, row * stride, size)
        sums = [jnp.sum(lines[:, :, _reached(column, columns, stride)] * of_row, axis=(1, 2)) for column in range(size)]
        return jnp.stack(sums, axis=1)

    rows = jnp.arange(gradient.shape[1])
    return jax.lax.map(of_one, (rows, jnp.moveaxis(gradient, 1, 0))).sum(axis=0)[:, :, None]
