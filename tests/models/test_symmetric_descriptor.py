import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax.input.augmentation import Augmentation
from vigor_jax.models.symmetric_descriptor import panorama_symmetries, side_by_side, tile_symmetries, upright_offset

SYMMETRIES = [Augmentation(turns, mirror) for mirror in (False, True) for turns in range(4)]


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (3, 8, width, 3), dtype=np.uint8) for width in (8, 16)]


def test_symmetries_are_those_of_training_in_the_same_order_for_both_views(images):
    tiles, panoramas = images
    for drawn, found in zip(SYMMETRIES, tile_symmetries(tiles), strict=True):
        np.testing.assert_array_equal(found, np.stack([drawn.tile(image) for image in tiles]))
    for drawn, found in zip(SYMMETRIES, panorama_symmetries(panoramas), strict=True):
        np.testing.assert_array_equal(found, np.stack([drawn.panorama(image) for image in panoramas]))


def test_similarity_is_the_mean_of_eight(images):
    rng = np.random.default_rng(1)
    kernels = [jnp.asarray(rng.normal(size=(8 * width * 3, 5)), jnp.float32) for width in (8, 16)]

    def encode(pixels, kernel):
        rows = pixels.reshape(len(pixels), -1) @ kernel
        return rows / jnp.linalg.norm(rows, axis=1, keepdims=True)

    tiles, panoramas = tile_symmetries(images[0]), panorama_symmetries(images[1])
    found_tiles = side_by_side([encode(pixels, kernels[0]) for pixels in tiles])
    found_panoramas = side_by_side([encode(pixels, kernels[1]) for pixels in panoramas])
    pairs = zip(tiles, panoramas, strict=True)
    similarities = [np.asarray(encode(t, kernels[0])) @ np.asarray(encode(p, kernels[1])).T for t, p in pairs]
    expected = np.mean(similarities, axis=0)
    np.testing.assert_allclose(found_tiles @ found_panoramas.T, expected, atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(found_tiles, axis=1), 1, atol=1e-6)


def test_offsets_of_all_symmetries_are_turned_back():
    upright = np.random.default_rng(0).normal(size=(5, 2))
    offsets = [jnp.asarray(drawn.offset(upright), jnp.float32) for drawn in SYMMETRIES]
    for symmetry in range(8):
        alone = [offset if k == symmetry else jnp.zeros((5, 2)) for k, offset in enumerate(offsets)]
        np.testing.assert_allclose(upright_offset(alone), upright / 8, atol=1e-6)
    np.testing.assert_allclose(upright_offset(offsets), upright, atol=1e-6)
