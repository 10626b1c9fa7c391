"""Shifts of an image's colour along the directions in which the colours of the training images vary.

Krizhevsky, Sutskever and Hinton, NIPS 2012, section 4.1, and VGG after them: to every pixel of an image is added
p1 a1 l1 + p2 a2 l2 + p3 a3 l3, of the eigenvectors p and eigenvalues l of the covariance of all training pixels'
colours, and three normal numbers a of standard deviation 0.1, drawn once for each image. An eigenvalue is a variance,
so how far colours are shifted depends on the unit of colour: 0 to 1 here, as in the figures published for ImageNet.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Int

from vigor_jax.datasets.cross_view import EncodedImages
from vigor_jax.datasets.image_codec import decode
from vigor_jax.datasets.ordered_pool import map_in_order
from vigor_jax.input.randomness import fold

_SAMPLED = 1000  # images: the axes are those of all by then


@dataclasses.dataclass(frozen=True)
class PrincipalColours:
    """The eigenvalues and eigenvectors of the covariance of RGB values from 0 to 1."""

    variances: Float[np.ndarray, "3"]  # eigenvalues, descending
    axes: Float[np.ndarray, "3 3"]  # [channel, axis]: columns are the unit eigenvectors


# As published with Facebook's ResNet training (fb.resnet.torch, datasets/imagenet.lua) and used since.
IMAGENET = PrincipalColours(
    variances=np.array([0.2175, 0.0188, 0.0045]),
    axes=np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]),
)


def principal_colours(images: EncodedImages, rows: Int[np.ndarray, "images"], names: Sequence[str]) -> PrincipalColours:
    """Measures the colours of every image among `rows`, or of 1,000 of them at equal distances if there are more.

    Args:
      names: of all images, for errors.

    Raises:
      ImageError: an image cannot be decoded.
    """
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLED)).round().astype(int)].tolist()
    count, total, products = 0, np.zeros(3), np.zeros((3, 3))
    for pixels, summed, squared in map_in_order(functools.partial(_moments, images, names), chosen):
        count, total, products = count + pixels, total + summed, products + squared
    mean = total / count
    variances, axes = np.linalg.eigh(products / count - np.outer(mean, mean))
    # Ascending, and either of two directions: made one by the sign of the channels' sum.
    axes = axes[:, ::-1] * np.where(axes[:, ::-1].sum(axis=0) < 0, -1, 1)
    return PrincipalColours(np.maximum(variances[::-1], 0), axes)


def draw(seed: int, step: int, slot: int, colours: PrincipalColours, std: float) -> Float32[np.ndarray, "3"]:
    """Draws what to add to the RGB values, of 0 to 255, of the example in a slot of the global batch of a step.

    Args:
      std: of the three normal numbers; 0.1 as published.
    """
    a = np.random.default_rng(fold(seed, "colour shift", step, slot)).normal(0, std, 3)
    return (255 * colours.axes @ (a * colours.variances)).astype(np.float32)


def _moments(
    images: EncodedImages, names: Sequence[str], row: int
) -> tuple[int, Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]:
    """Of one image: pixels, sum of their colours, sum of the products of any two channels."""
    colours = decode(images[row], names[row]).reshape(-1, 3) / 255
    return len(colours), colours.sum(axis=0), colours.T @ colours
