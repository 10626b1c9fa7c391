"""The simplest retrieval there is: rank tiles by colour alone. What a model must beat to have learnt anything.

Descriptors are unit-normalised, so that their inner products rank, after each view has been standardised by its own
gallery: the two views differ in light, and a comparison of raw colours would lose to that alone.
"""

import numpy as np
from jaxtyping import Float, UInt8


def mean_colour(images: UInt8[np.ndarray, "batch height width 3"]) -> Float[np.ndarray, "batch 6"]:
    """Mean and deviation of each RGB channel, standardised over the images and unit-normalised, float32.

    Pass all images of one view of one gallery at once: the standardisation is theirs.
    """
    pixels = images.reshape(len(images), -1, 3).astype(np.float32)
    return _standardise(np.concatenate([pixels.mean(axis=1), pixels.std(axis=1)], axis=1))


def colour_histogram(
    images: UInt8[np.ndarray, "batch height width 3"], bins: int = 8
) -> Float[np.ndarray, "batch joint_bins"]:
    """Joint RGB histogram of bins^3 cells, square-rooted, standardised over the images and unit-normalised, float32.

    Pass all images of one view of one gallery at once, panoramas with their sky: on the rendered city this, with 8
    bins, ranks better than the lower half alone, than the band around the horizon, and than fewer bins.
    """
    level = images.astype(np.int64) * bins // 256
    cell = ((level[..., 0] * bins + level[..., 1]) * bins + level[..., 2]).reshape(len(images), -1)
    cell += np.arange(len(images))[:, None] * bins**3
    counts = np.bincount(cell.ravel(), minlength=len(images) * bins**3).reshape(len(images), -1)
    # The square root turns the inner product into the Bhattacharyya coefficient (Hellinger distance).
    return _standardise(np.sqrt(counts / cell.shape[1]).astype(np.float32))


def _standardise(features: np.ndarray) -> np.ndarray:
    features = features - features.mean(axis=0)
    deviation = features.std(axis=0)
    # A cell that hardly varies holds rounding noise; scaled up it would speak loudest.
    features = features / np.maximum(deviation, 0.1 * deviation.max() + 1e-12)
    norm = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.maximum(norm, 1e-12)).astype(np.float32)
