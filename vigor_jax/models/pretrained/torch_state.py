"""VGG-16 as torchvision stores it: a state dict in a .pth or .safetensors file."""

from collections.abc import Callable, Iterable

import numpy as np

from vigor_jax.models.pretrained.stored_layers import StoredLayers, WeightFileError, require_package
from vigor_jax.models.vgg import CONVOLUTIONS

# torchvision's names, and those under which timm republishes the same weights.
_FULLY_CONNECTED = ("classifier.", "pre_logits.", "head.")
_SAFE_TORCH = (2, 6)


def read_pth(path: str) -> StoredLayers:
    """Reads a .pth file; only tensors are unpickled, so that a file from elsewhere cannot run code."""
    torch = require_package("torch", path, "pip install torch (a CPU build will do), or convert it to .safetensors")
    if tuple(map(int, torch.__version__.split(".")[:2])) < _SAFE_TORCH:
        raise WeightFileError(
            f"{path}: a file can make PyTorch {torch.__version__} run code, even where only weights are asked for "
            "(CVE-2025-32434). Install 2.6 or newer, or convert the file to .safetensors."
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, KeyError, ... for damaged files
        raise WeightFileError(f"{path} is not a readable PyTorch state dict: {error}") from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise WeightFileError(f"{path} does not hold a state dict of tensors, as torchvision publishes it.")
    try:
        return _sort(state, lambda name: state[name].float().numpy())
    except (RuntimeError, TypeError, NotImplementedError) as error:  # sparse, quantised or without data
        raise WeightFileError(f"{path} holds tensors that are no plain arrays: {error}") from error


def read_safetensors(path: str) -> StoredLayers:
    """Reads a .safetensors file of the same names; the fully connected layers stay on the disk."""
    safetensors = require_package("safetensors", path, "pip install 'vigor_jax[pretrained]'")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return _sort(file.keys(), file.get_tensor)
    # TypeError, AttributeError: a number format that NumPy lacks.
    except (safetensors.SafetensorError, TypeError, AttributeError, OSError) as error:
        raise WeightFileError(f"{path} is not a readable safetensors file: {error}") from error


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
