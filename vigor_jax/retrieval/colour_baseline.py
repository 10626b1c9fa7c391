"""The simplest retrieval there is: rank tiles by colour alone. What a model must beat to have learnt anything.

In two parts, so that images can stream: features of each image by itself, and then `standardise` over all queries or
all references of one gallery. The two views differ in light, and a comparison of raw colours would lose to that alone.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8


def mean_colour(images: UInt8[Array | np.ndarray, "batch height width 3"]) -> Float[Array, "batch 6"]:
    """Mean and deviation of each RGB channel of each image, 0 to 255, float32."""
    pixels = jnp.asarray(images, jnp.float32)
    return jnp.concatenate([pixels.mean(axis=(1, 2)), pixels.std(axis=(1, 2))], axis=1)


def colour_histogram(
    images: UInt8[Array | np.ndarray, "batch height width 3"], bins: int = 8
) -> Float[Array, "batch joint_bins"]:
    """Square root of the share of an image's pixels in each of bins^3 RGB cells, float32; blue varies fastest.

    The square root turns the inner product into the Bhattacharyya coefficient (Hellinger distance). Of panoramas with
    their sky: on the rendered city this, with 8 bins, ranks better than the lower half alone, than the band around
    the horizon, and than fewer bins.
    """
    level = jnp.asarray(images, jnp.int32) * bins // 256
    cell = ((level[..., 0] * bins + level[..., 1]) * bins + level[..., 2]).reshape(len(images), -1)
    counts = jax.vmap(functools.partial(jnp.bincount, length=bins**3))(cell)
    return jnp.sqrt(counts / cell.shape[1])


def standardise(
    features: Float[Array | np.ndarray, "rows dim"], real: Bool[Array | np.ndarray, "rows"] | None = None
) -> Float[Array, "rows dim"]:
    """Unit descriptors whose inner products rank: each feature less its mean over the images, by its deviation.

    Args:
      features: of all queries, or of all references, of one gallery.
      real: the other rows do not count; None: all do.
    """
    features = jnp.asarray(features)
    real = jnp.ones((len(features), 1), bool) if real is None else jnp.asarray(real)[:, None]
    features = features - jnp.mean(features, axis=0, where=real)
    deviation = jnp.sqrt(jnp.mean(features**2, axis=0, where=real))
    # A feature that hardly varies holds rounding noise; scaled up it would speak loudest.
    features = features / jnp.maximum(deviation, 0.1 * deviation.max() + 1e-12)
    norm = jnp.linalg.norm(features, axis=1, keepdims=True)
    return features / jnp.maximum(norm, 1e-12)
