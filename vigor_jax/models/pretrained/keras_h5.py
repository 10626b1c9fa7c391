"""Keras' HDF5 files."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from vigor_jax.models.pretrained.weight_file_error import WeightFileError, require_package


def read_arrays(path: str, largest: int) -> dict[str, np.ndarray]:
    """Every array of a file by "layer/array", whatever network it is of: "conv_dw_1/depthwise_kernel".

    Only what lies in the file itself is read: links to other files, and data kept in other files, are refused.

    Args:
      path: of a weight file (layers at the root) or a whole saved model (layers under `model_weights`).
      largest: numbers that any array may have.
    """
    arrays: dict[str, np.ndarray] = {}
    with _layers_of(path) as layers:
        for layer in layers:
            for key, array in _datasets(_own(layers, layer, path), layer).items():
                # Layers are repeated in the names inside, and ":0" says that it is the operation's first output.
                name = f"{layer}/{key.rsplit('/', 1)[-1].removesuffix(':0')}"
                if name in arrays:
                    raise WeightFileError(f"{path}: {layer} has two arrays {name}, which no layer of Keras has.")
                arrays[name] = _read_numbers(array, f"{layer}/{key}", path, largest)
    return arrays


@contextlib.contextmanager
def _layers_of(path: str) -> Iterator[Any]:
    """The group of layers in an open file; whatever is wrong with it is a WeightFileError."""
    h5py = require_package("h5py", path, "pip install 'vigor_jax[pretrained]'")
    try:
        with h5py.File(path, "r") as file:
            yield _own(file, "model_weights", path) if "model_weights" in file else file
    except WeightFileError:
        raise
    except Exception as error:  # h5py raises OSError, RuntimeError, KeyError, ValueError, ... for damaged files
        raise WeightFileError(f"{path} is not a readable HDF5 file: {error}") from error


def _datasets(item: Any, name: str) -> dict[str, Any]:
    """The arrays at or below an item by the path below it."""
    import h5py

    arrays: dict[str, Any] = {}
    if isinstance(item, h5py.Dataset):
        arrays[name] = item
    else:  # visits what lies in the file alone
        item.visititems(lambda key, inside: arrays.update({key: inside} if hasattr(inside, "shape") else {}))
    return arrays


def _own(group: Any, name: str, path: str) -> Any:
    """A member of a group that lies in this file."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise WeightFileError(
            f"{path}: {name[:120]!r} is a link, which weight files do not have, and which could lead to another file. "
            "The file may be malicious; the link was not followed."
        )
    return group[name]


def _read_numbers(array: Any, name: str, path: str, largest: int) -> Any:
    """The array, unless reading it would read other files, run out of memory or make objects."""
    if array.external or array.is_virtual:
        raise WeightFileError(
            f"{path}: the numbers of {name} are kept in other files. The file may be malicious; they were not read."
        )
    if array.dtype.kind != "f" or array.size > largest:
        raise WeightFileError(f"{path}: {name} is {array.dtype} {list(array.shape)}, which no layer of any network is.")
    return array[()]
