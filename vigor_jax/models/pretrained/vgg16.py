"""One entry for VGG-16 weights of any origin."""

import os

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from vigor_jax.models.pretrained import keras_h5, numpy_pickle, torch_state
from vigor_jax.models.pretrained.stored_layers import StoredLayers, WeightFileError
from vigor_jax.models.vgg import VGG, layers

# How a kind of file is read, and the preprocessing its weights were trained with.
_READERS = {
    ".pth": (torch_state.read_pth, "torchvision"),
    ".safetensors": (torch_state.read_safetensors, "torchvision"),
    ".h5": (keras_h5.read_h5, "keras"),
    ".npy": (numpy_pickle.read_npy, "vigor"),
}
_SHOWN = 20  # names of unexpected layers in an error


def load_vgg16(path: str | os.PathLike[str]) -> tuple[dict[str, dict[str, np.ndarray]], str]:
    """The thirteen convolutions of a VGG-16 weight file: torchvision, Keras, or the authors' vgg16.npy.

    Args:
      path: .pth or .safetensors (torchvision's names), .h5 (Keras, with or without top), .npy (the authors').

    Returns:
      The "params" of a `VGG` of width 1, float32, and the name of the preprocessing that belongs to them.

    Raises:
      WeightFileError: no such file, unknown kind, damaged, or layers missing, unexpected, mis-shaped or not finite.
    """
    path = os.fspath(path)
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in _READERS:
        raise WeightFileError(f"{path}: not a kind of weight file. Known: {', '.join(_READERS)}.")
    if not os.path.isfile(path):
        raise WeightFileError(f"{path}: no such file. Give the path of VGG-16 weights, or none to start from random.")
    read, preprocessing = _READERS[suffix]
    stored = read(path)
    params = _checked(stored, path)
    if stored.ignored:
        logging.info("%s: fully connected layers are not used: %s", path, _some(stored.ignored))
    logging.info("%s: VGG-16 weights loaded, preprocessing %r.", path, preprocessing)
    return params, preprocessing


def _checked(stored: StoredLayers, path: str) -> dict[str, dict[str, np.ndarray]]:
    """The arrays as a tree of parameters, every layer present, of the right shape and finite."""
    problems: list[str] = []
    if stored.unexpected:
        problems.append(f"unexpected: {_some(stored.unexpected)}")
    shapes = _shapes()
    missing = [f"{layer} {part}" for layer, part in shapes if (layer, part) not in stored.arrays]
    if missing:
        problems.append(f"missing: {', '.join(missing)}")
    for key, array in stored.arrays.items():
        layer, part = key
        if key not in shapes:
            problems.append(f"unexpected: {layer} {part}")
        elif array.shape != shapes[key]:
            problems.append(f"{layer} {part} is {list(array.shape)}, expected {list(shapes[key])}")
        elif not np.isfinite(array).all():
            problems.append(f"{layer} {part} is not finite")
    if problems:
        raise WeightFileError(f"{path} is not a VGG-16: {'; '.join(problems)}.")
    params: dict[str, dict[str, np.ndarray]] = {}
    for layer, part in shapes:
        params.setdefault(layer, {})[part] = np.ascontiguousarray(stored.arrays[layer, part], np.float32)
    return params


def _some(names: list[str]) -> str:
    """Names that a file brought along, as far as they fit on a screen and print."""
    shown = [name if name.isprintable() else repr(name) for name in sorted(names)[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")


def _shapes() -> dict[tuple[str, str], tuple[int, ...]]:
    model = jax.eval_shape(VGG().init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    return {(layer, part): model[layer][part].shape for layer in layers("D") for part in ("kernel", "bias")}
