"""Swin: a transformer whose attention stays within windows, which move by half a window from block to block."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vigor_jax.models.transformer_block import INIT, MLP, Block, SelfAttention


@dataclasses.dataclass(frozen=True)
class Size:
    """What the published models differ in; the fields are attributes of `Swin`."""

    embed: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    stochastic_depth: float  # in training from random weights


_TINY = Size(96, (2, 2, 6, 2), (3, 6, 12, 24), window=7, stochastic_depth=0.2)
_BASE = Size(128, (2, 2, 18, 2), (4, 8, 16, 32), window=7, stochastic_depth=0.5)
# Section 3.3 of the paper and, for the rates, its appendix A2.1. The window grows with the image, so that the last
# stage is one window.
SIZES = {
    "swin_tiny": _TINY,
    "swin_tiny_384": dataclasses.replace(_TINY, window=12),
    "swin_base": _BASE,
    "swin_base_384": dataclasses.replace(_BASE, window=12),
}

_PATCH = 4
_EPSILON = 1e-5
_APART = -100.0  # added to the logits of two places that only the cyclic shift made neighbours


class Swin(nn.Module):
    """Swin transformer (Liu et al., 2021), stride 32.

    [B, H, W, 3] preprocessed images -> four maps [B, ceil(H/s), ceil(W/s), C], one a stage, before the merging of
    patches and not normalised, in `dtype`.

    Attributes:
      embed: channels of the first stage's map; every stage has twice those of the one before.
      depths: blocks of each stage.
      heads: of attention, of each stage.
      window: side of a window, in places of the stage's map.
      stochastic_depth: the rate at which training leaves out the last block's parts; it rises from 0 at the first
        block in equal steps.
      dtype: of the computation; parameters are float32.
      maps: how many maps are made, finest first, with nothing computed behind the last; None for all. `strides` and
        `channels` are always those of all.
    """

    embed: int = SIZES["swin_tiny"].embed
    depths: tuple[int, ...] = SIZES["swin_tiny"].depths
    heads: tuple[int, ...] = SIZES["swin_tiny"].heads
    window: int = SIZES["swin_tiny"].window
    stochastic_depth: float = 0.0
    dtype: Any = jnp.float32
    maps: int | None = None

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the image from one place of each stage's map to the next."""
        return tuple(_PATCH * 2**stage for stage in range(len(self.depths)))

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each stage's map."""
        return tuple(self.embed * 2**stage for stage in range(len(self.depths)))

    @nn.compact
    def __call__(
        self, images: Float[Array | np.ndarray, "batch height width 3"], *, train: bool = False
    ) -> tuple[Float[Array, "batch rows columns channels"], ...]:
        """Features of each stage, finest first; `train` drops blocks, which draws from "dropout"."""
        features = SwinPatchEmbedding(self.embed, self.dtype, name="patch_embedding")(images)
        body = SwinBody(self.depths, self.heads, self.window, self.stochastic_depth, self.dtype, self.maps, name="body")
        return body(features, train=train)


class SwinPatchEmbedding(nn.Module):
    """4x4 patches as vectors, layer-normalised: [B, H, W, 3] -> [B, ceil(H/4), ceil(W/4), embed].

    Sides that are no multiple of 4 are filled up with zeros at the bottom and the right.
    """

    embed: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array | np.ndarray, "batch height width 3"]
    ) -> Float[Array, "batch rows columns embed"]:
        """The first map of `SwinBody`."""
        projection = nn.Conv(
            self.embed, (_PATCH, _PATCH), _PATCH, padding="VALID", dtype=self.dtype, kernel_init=INIT, name="projection"
        )
        features = projection(_filled_up(jnp.asarray(images, self.dtype), _PATCH))
        return nn.LayerNorm(_EPSILON, dtype=self.dtype, name="norm")(features)


class SwinBody(nn.Module):
    """All of Swin behind the patch embedding: a map of any origin [B, h, w, embed] -> one map a stage.

    Attributes: those of `Swin`.
    """

    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    stochastic_depth: float = 0.0
    dtype: Any = jnp.float32
    maps: int | None = None

    @nn.compact
    def __call__(
        self, features: Float[Array, "batch height width embed"], *, train: bool = False
    ) -> tuple[Float[Array, "batch rows columns channels"], ...]:
        """Features of each stage, finest first."""
        drop_rates = iter(np.linspace(0.0, self.stochastic_depth, sum(self.depths)).tolist())
        stages: list[Array] = []
        for stage, (depth, heads) in enumerate(zip(self.depths, self.heads, strict=True), 1):
            if stages:
                features = _PatchMerging(self.dtype, name=f"merging{stage - 1}")(features)
            for number in range(1, depth + 1):
                # Every second block has its windows half a window further on.
                attention = functools.partial(
                    _WindowAttention, heads, self.window, shifted=number % 2 == 0, dtype=self.dtype
                )
                block = Block(
                    attention,
                    functools.partial(MLP, dtype=self.dtype),
                    _EPSILON,
                    drop_rate=next(drop_rates),
                    dtype=self.dtype,
                    name=f"stage{stage}_block{number}",
                )
                features = block(features, train)
            stages.append(features)
            if len(stages) == self.maps:
                break
        return tuple(stages)


class SwinHead(nn.Module):
    """Layer norm of every place and the mean of them all: [B, H, W, C] -> [B, C] in `dtype`."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[Array | np.ndarray, "batch rows columns channels"], *, train: bool = False
    ) -> Float[Array, "batch channels"]:
        """The mean, which is computed in float32."""
        features = nn.LayerNorm(_EPSILON, dtype=self.dtype, name="norm")(features)
        return jnp.mean(features, axis=(1, 2), dtype=jnp.float32).astype(self.dtype)


class _PatchMerging(nn.Module):
    """Each 2x2 places to one of twice the channels; an odd side is filled up with zeros."""

    dtype: Any

    @nn.compact
    def __call__(self, features: Float[Array, "batch height width channels"]) -> Array:
        features = _filled_up(features, 2)
        # Down the column first: the order of the reduction's weights.
        four = [features[:, row::2, column::2] for column in range(2) for row in range(2)]
        merged = nn.LayerNorm(_EPSILON, dtype=self.dtype, name="norm")(jnp.concatenate(four, axis=-1))
        reduction = nn.Dense(
            2 * features.shape[-1], use_bias=False, dtype=self.dtype, kernel_init=INIT, name="reduction"
        )
        return reduction(merged)


class _WindowAttention(nn.Module):
    """Self-attention within windows of a map: [B, H, W, C] -> the same.

    A map whose sides are no multiples of the window is filled up with zeros, which attend and are attended to, as the
    paper's code for detection does. Where the shorter side is no longer than the window, the window shrinks to it and
    does not move, and a pair of places keeps the bias of its distance.
    """

    heads: int
    window: int
    shifted: bool
    dtype: Any

    @nn.compact
    def __call__(self, features: Float[Array, "batch height width channels"]) -> Array:
        _, height, width, _ = features.shape
        table = self.param("relative_position_bias", INIT, ((2 * self.window - 1) ** 2, self.heads))
        window, shift = self.window, self.window // 2 if self.shifted else 0
        if min(height, width) <= window:
            window, shift = min(height, width), 0

        shifted = jnp.roll(_filled_up(features, window), (-shift, -shift), (1, 2))
        _, rows, columns, _ = shifted.shape
        bias = jnp.asarray(table)[_distances(window, self.window)].transpose(2, 0, 1)
        if shift:
            regions = _regions(rows, columns, window, shift)
            apart = jnp.where(regions[:, None, :, None] == regions[:, None, None, :], 0.0, _APART)
            bias = bias + apart
        attention = SelfAttention(self.heads, self.dtype, name="attention")
        attended = _map(attention(_windows(shifted, window), bias), rows, columns)
        return jnp.roll(attended, (shift, shift), (1, 2))[:, :height, :width]


def _filled_up(features: Array, multiple: int) -> Array:
    """Zeros at the bottom and the right until both sides are multiples."""
    _, height, width, _ = features.shape
    return jnp.pad(features, ((0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0)))


def _windows(features: Array | np.ndarray, window: int) -> Array | np.ndarray:
    """[B, H, W, C] -> [B, windows, window * window, C], row by row both."""
    batch, height, width, channels = features.shape
    cut = features.reshape(batch, height // window, window, width // window, window, channels)
    return cut.swapaxes(2, 3).reshape(batch, -1, window * window, channels)


def _map(windows: Array, height: int, width: int) -> Array:
    """The inverse of `_windows`."""
    batch, _, places, channels = windows.shape
    window = round(places**0.5)
    cut = windows.reshape(batch, height // window, width // window, window, window, channels)
    return cut.swapaxes(2, 3).reshape(batch, height, width, channels)


def _distances(window: int, largest: int) -> Int[np.ndarray, "places places"]:
    """Where in the table of the biases of a window of side `largest` the pairs of places of a window stand."""
    at = np.stack(np.mgrid[:window, :window], axis=-1).reshape(-1, 2)
    rows, columns = np.moveaxis(at[:, None] - at[None] + largest - 1, -1, 0)
    return rows * (2 * largest - 1) + columns


def _regions(height: int, width: int, window: int, shift: int) -> Int[np.ndarray, "windows places"]:
    """A number for each place of a map that was shifted round: within a window, equal where the map is connected."""
    row, column = np.mgrid[:height, :width]
    of_row = (row >= height - window).astype(int) + (row >= height - shift)
    of_column = (column >= width - window).astype(int) + (column >= width - shift)
    return _windows((3 * of_row + of_column)[None, :, :, None], window)[0, :, :, 0]
