"""Numbers that both sides of a parity test can make from nothing but a name and a shape."""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

# Arrays that are added to features as they are, so that a fan-in says nothing about their scale.
_ADDED = ("token", "position", "pos_embed")
_OFFSETS = ("bias", "mean", "beta")


def draw(name: str, shape: Sequence[int]) -> np.ndarray:
    """Float32 parameters for the array of that name, of a scale at which a deep network neither dies nor explodes.

    `RandomState` and not a `Generator`: its stream is frozen for ever.
    """
    normal = np.random.RandomState(zlib.crc32(name.encode()))
    if len(shape) > 1:
        scale = 0.5 if any(part in name for part in _ADDED) else (2 / np.prod(shape[1:])) ** 0.5
        return (normal.standard_normal(tuple(shape)) * scale).astype(np.float32)
    if name.endswith(_OFFSETS):
        return (normal.standard_normal(tuple(shape)) * 0.1).astype(np.float32)
    return normal.uniform(0.5, 1.5, tuple(shape)).astype(np.float32)  # scales and variances


def draw_image(shape: Sequence[int], name: str = "image") -> np.ndarray:
    """A float32 image [B, H, W, 3], standard normal."""
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(shape)).astype(np.float32)


def draw_state(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """`draw` for every name of a state dict."""
    return {name: draw(name, shape) for name, shape in shapes.items()}
