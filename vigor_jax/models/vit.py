"""ViT in the layout of DINOv2's weights: patches and a class token, all of which attend to each other."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vigor_jax.models.transformer_block import INIT, MLP, Block, SelfAttention, SwiGLU


@dataclasses.dataclass(frozen=True)
class Size:
    """What the published models differ in; the fields are attributes of `ViT`."""

    patch: int
    width: int
    depth: int
    heads: int
    positions: int
    layer_scale: bool = True
    gated: bool = False


# DINOv2's weights were trained last at 518 px, which are 37 patches a side (section 4 of its paper).
SIZES = {
    "vit_small_14": Size(14, 384, 12, 6, 37),
    "vit_base_14": Size(14, 768, 12, 12, 37),
    "vit_large_14": Size(14, 1024, 24, 16, 37),
    "vit_giant_14": Size(14, 1536, 40, 24, 37, gated=True),
    "vit_base_16": Size(16, 768, 12, 12, 14, layer_scale=False),
}

_EPSILON = 1e-6


class ViT(nn.Module):
    """Vision transformer (Dosovitskiy et al., 2021) with the layer scale of DINOv2 (Oquab et al., 2023).

    [B, H, W, 3] preprocessed images -> one map [B, floor(H/patch), floor(W/patch), width], the patches after the last
    layer norm, in `dtype`. Rows and columns beyond a multiple of the patch are left out. The learnt positions are
    interpolated to the image's.

    Attributes:
      patch: side of a patch in pixels.
      width: channels.
      depth: blocks.
      heads: of attention.
      positions: patches a side for which positions are learnt.
      layer_scale: whether blocks scale what they add; the plain ViT does not.
      gated: SwiGLU in place of the MLP, as in DINOv2's giant.
      registers: learnt tokens that take part and are thrown away (Darcet et al., 2024); the published weights have 4,
        and were trained with positions interpolated otherwise (`interpolated`).
      stochastic_depth: the rate at which training leaves out each part of each block, the same for all.
      dtype: of the computation; parameters are float32.
    """

    patch: int = SIZES["vit_base_14"].patch
    width: int = SIZES["vit_base_14"].width
    depth: int = SIZES["vit_base_14"].depth
    heads: int = SIZES["vit_base_14"].heads
    positions: int = SIZES["vit_base_14"].positions
    layer_scale: bool = SIZES["vit_base_14"].layer_scale
    gated: bool = SIZES["vit_base_14"].gated
    registers: int = 0
    stochastic_depth: float = 0.0
    dtype: Any = jnp.float32

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the image from one place of the map to the next."""
        return (self.patch,)

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the map."""
        return (self.width,)

    def __call__(
        self, images: Float[Array | np.ndarray, "batch height width 3"], *, train: bool = False
    ) -> tuple[Float[Array, "batch rows columns channels"], ...]:
        """The map alone; `train` drops blocks, which draws from "dropout"."""
        return (self.tokens(images, train=train)[1],)

    @nn.compact
    def tokens(
        self, images: Float[Array | np.ndarray, "batch height width 3"], *, train: bool = False
    ) -> tuple[Float[Array, "batch channels"], Float[Array, "batch rows columns channels"]]:
        """The class token and the map, both after the last layer norm."""
        patches = self._patches(jnp.asarray(images, self.dtype))
        batch, rows, columns, width = patches.shape
        learnt = jnp.asarray(self.param("position_embedding", INIT, (1, 1 + self.positions**2, width)))
        class_token = self.param("class_token", INIT, (1, 1, width)) + learnt[:, :1]
        grid = learnt[:, 1:].reshape(self.positions, self.positions, width)
        patches = patches + interpolated(grid, rows, columns, antialias=self.registers > 0).astype(self.dtype)

        extra = [class_token]
        if self.registers:
            extra.append(self.param("register_tokens", INIT, (1, self.registers, width)))
        extra = [jnp.broadcast_to(token.astype(self.dtype), (batch, *token.shape[1:])) for token in extra]
        tokens = jnp.concatenate([*extra, patches.reshape(batch, -1, width)], axis=1)
        for number in range(1, self.depth + 1):
            block = Block(
                functools.partial(SelfAttention, self.heads, self.dtype),
                functools.partial(SwiGLU if self.gated else MLP, dtype=self.dtype),
                _EPSILON,
                self.layer_scale,
                self.stochastic_depth,
                self.dtype,
                name=f"block{number}",
            )
            tokens = block(tokens, train)
        tokens = nn.LayerNorm(_EPSILON, dtype=self.dtype, name="norm")(tokens)
        return tokens[:, 0], tokens[:, 1 + self.registers :].reshape(patches.shape)

    def _patches(self, images: Array) -> Array:
        size = (self.patch, self.patch)
        projection = nn.Conv(
            self.width, size, size, padding="VALID", dtype=self.dtype, kernel_init=INIT, name="patch_embedding"
        )
        return projection(images)


class ViTHead(nn.Module):
    """The class token [B, C], with the mean of the patches beside it [B, 2C] as DINOv2's linear classifiers have it.

    Attributes:
      patch_mean: whether the mean is there; the plain ViT is without.
      dtype: of the output.
    """

    patch_mean: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        tokens: tuple[Float[Array, "batch channels"], Float[Array, "batch rows columns channels"]],
        *,
        train: bool = False,
    ) -> Float[Array, "batch features"]:
        """From what `ViT.tokens` gives; the mean is computed in float32."""
        class_token, patches = tokens
        if not self.patch_mean:
            return class_token.astype(self.dtype)
        mean = jnp.mean(patches, axis=(1, 2), dtype=jnp.float32)
        return jnp.concatenate([class_token.astype(self.dtype), mean.astype(self.dtype)], axis=-1)


def interpolated(
    grid: Float[Array, "old_rows old_columns channels"], rows: int, columns: int, *, antialias: bool
) -> Float[Array, "rows columns channels"]:
    """Learnt positions for another number of patches, by bicubic interpolation.

    As transformers does it: PyTorch's bicubic kernel (a = -0.75) without antialiasing for DINOv2, with it, which in
    PyTorch is another kernel too (a = -0.5), for DINOv2 with registers.
    """
    if grid.shape[:2] == (rows, columns):
        return grid
    method = jax.image.ResizeMethod.CUBIC if antialias else jax.image.ResizeMethod.CUBIC_PYTORCH
    return jax.image.resize(grid, (rows, columns, grid.shape[2]), method, antialias=antialias)
