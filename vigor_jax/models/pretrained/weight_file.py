"""The arrays of a file of weights by the file's own names, whatever network they are of; nothing in it is run."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from vigor_jax.models.pretrained import keras_h5, numpy_archive, numpy_pickle
from vigor_jax.models.pretrained.weight_file_error import WeightFileError, require_package

_SAFE_TORCH = (2, 6)
_WRAPPERS = ("model", "state_dict")  # keys under which training scripts keep the state
_LARGEST = 1 << 28  # numbers in one array: more than twice VGG's first fully connected layer


def read_weights(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Every array of a file by its name, to be handed to `matched` of a family, as `loading.load` does.

    Args:
      path: .safetensors; .pth, .pt or .bin (a PyTorch state dict, also inside {"model": ...} or {"state_dict": ...});
        .h5 (Keras: "layer/array", without the ":0"); .npz; .npy (vgg16.npy of VIGOR's authors: "layer/kernel" and
        "layer/bias", without the fully connected layers).

    Raises:
      WeightFileError: no such file, unknown kind, damaged, or something in it that is no plain array.
    """
    path = os.fspath(path)
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in _READERS:
        raise WeightFileError(f"{path}: not a kind of weight file. Known: {', '.join(_READERS)}.")
    if not os.path.isfile(path):
        raise WeightFileError(f"{path}: no such file. Give the path of weights, or none to start from random.")
    return _READERS[suffix](path)


def _read_safetensors(path: str) -> dict[str, np.ndarray]:
    safetensors = require_package("safetensors", path, "pip install 'vigor_jax[pretrained]'")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    # TypeError, AttributeError: a number format that NumPy lacks.
    except (safetensors.SafetensorError, TypeError, AttributeError, OSError) as error:
        raise WeightFileError(f"{path} is not a readable safetensors file: {error}") from error


def _read_pth(path: str) -> dict[str, np.ndarray]:
    """A state dict; only tensors are unpickled, so that a file from elsewhere cannot run code."""
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
    state = _unwrapped(state)
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise WeightFileError(f"{path} does not hold a state dict of tensors, as weights are published.")
    try:
        return {name: _array(tensor) for name, tensor in state.items()}
    except (RuntimeError, TypeError, NotImplementedError) as error:  # sparse, quantised or without data
        raise WeightFileError(f"{path} holds tensors that are no plain arrays: {error}") from error


def _unwrapped(state: Any) -> Any:
    inside = [state[key] for key in _WRAPPERS if isinstance(state, Mapping) and isinstance(state.get(key), dict)]
    return inside[0] if len(inside) == 1 else state


def _array(tensor: Any) -> np.ndarray:
    # NumPy has no bfloat16; counters stay whole numbers.
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _read_h5(path: str) -> dict[str, np.ndarray]:
    return keras_h5.read_arrays(path, _LARGEST)


def _read_npz(path: str) -> dict[str, np.ndarray]:
    return numpy_archive.read_npz(path, _LARGEST)


_READERS = {
    ".safetensors": _read_safetensors,
    ".pth": _read_pth,
    ".pt": _read_pth,
    ".bin": _read_pth,
    ".h5": _read_h5,
    ".npz": _read_npz,
    ".npy": numpy_pickle.read_npy,
}
