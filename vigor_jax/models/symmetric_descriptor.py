"""Embeddings of an image in all eight symmetries of its tile, side by side.

Towers are not equivariant: the tile of a place and its panorama, both turned by a quarter, are embedded anew. The dot
product of two such embeddings is the mean of the eight similarities, whose errors partly cancel. What a turn does to
either view stands in `vigor_jax.input.augmentation`, which draws one of the same symmetries for each example.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8


@jax.jit
def tile_symmetries(images: UInt8[Array, "batch size size 3"]) -> list[UInt8[Array, "batch size size 3"]]:
    """Tiles turned counter-clockwise by 0 to 3 quarters, then the same mirrored from left to right."""
    turned = [jnp.rot90(images, turns, axes=(1, 2)) for turns in range(4)]
    return turned + [image[:, :, ::-1] for image in turned]


@jax.jit
def panorama_symmetries(images: UInt8[Array, "batch height width 3"]) -> list[UInt8[Array, "batch height width 3"]]:
    """Panoramas of the tiles of `tile_symmetries`, in its order; the width is a multiple of 4."""
    quarter = images.shape[2] // 4
    turned = [jnp.roll(images, -turns * quarter, axis=2) for turns in range(4)]
    return turned + [image[:, :, ::-1] for image in turned]


def side_by_side(embeddings: list[Float[Array, "batch dim"]]) -> Float[Array, "batch dims"]:
    """One unit embedding from those of an image's symmetries, in the order of the functions above."""
    return jnp.concatenate(embeddings, axis=1) / len(embeddings) ** 0.5


def upright_offset(offsets: list[Float[Array, "batch 2"]]) -> Float[Array, "batch 2"]:
    """The mean of what the symmetries say of one offset, each turned back.

    Args:
      offsets: as of `geometry.tile_offset`, of the tiles of `tile_symmetries` and in their order.
    """
    turned_back = []
    for symmetry, offset in enumerate(offsets):
        turns, mirrored = symmetry % 4, symmetry >= 4
        d0, d1 = offset[:, 0], -offset[:, 1] if mirrored else offset[:, 1]
        for _ in range(turns):
            d0, d1 = -d1, d0
        turned_back.append(jnp.stack([d0, d1], axis=-1))
    return jnp.mean(jnp.stack(turned_back), axis=0)
