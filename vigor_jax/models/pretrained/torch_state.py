"""VGG-16 as torchvision stores it: a state dict in a .pth or .safetensors file."""

from collections.abc import Callable, Iterable

import numpy as np

from vigor_jax.models.pretrained import weight_file
from vigor_jax.models.pretrained.stored_layers import StoredLayers
from vigor_jax.models.vgg import CONVOLUTIONS

# torchvision's names, and those under which timm republishes the same weights.
_FULLY_CONNECTED = ("classifier.", "pre_logits.", "head.")


def read_pth(path: str) -> StoredLayers:
    """Reads a .pth file; only tensors are unpickled, so that a file from elsewhere cannot run code."""
    state = weight_file.read_pth(path)
    return _sort(state, state.__getitem__)


def read_safetensors(path: str) -> StoredLayers:
    """Reads a .safetensors file of the same names; the fully connected layers stay on the disk."""
    with weight_file.open_safetensors(path) as file:
        return _sort(file.keys(), file.get_tensor)


def _sort(names: Iterable[str], read: Callable[[str], np.ndarray]) -> StoredLayers:
    ours = _names()
    stored = StoredLayers()
    for name in names:
        if name in ours:
            array = read(name)
            # [out, in, height, width] -> [height, width, in, out]
            stored.arrays[ours[name]] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        elif name.startswith(_FULLY_CONNECTED):
            stored.ignored.append(name)
        else:
            stored.unexpected.append(name)
    return stored


def _names() -> dict[str, tuple[str, str]]:
    """Parameter names of torchvision, which counts ReLUs and pools too, to ours."""
    names, position = {}, 0
    for stage, count in enumerate(CONVOLUTIONS["D"], 1):
        for i in range(1, count + 1):
            names[f"features.{position}.weight"] = (f"conv{stage}_{i}", "kernel")
            names[f"features.{position}.bias"] = (f"conv{stage}_{i}", "bias")
            position += 2
        position += 1
    return names
