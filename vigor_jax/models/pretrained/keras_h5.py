"""VGG-16 as keras.applications stores it: HDF5, with or without the fully connected top."""

import re
from typing import Any

from vigor_jax.models.pretrained.stored_layers import StoredLayers, WeightFileError, require_package

_CONVOLUTION = re.compile(r"block([1-5])_conv([1-3])")
_FULLY_CONNECTED = ("fc1", "fc2", "predictions")


def read_h5(path: str) -> StoredLayers:
    """Reads a weight file (layers at the root) or a whole saved model (layers under `model_weights`)."""
    h5py = require_package("h5py", path, "pip install 'vigor_jax[pretrained]'")
    try:
        with h5py.File(path, "r") as file:
            return _read_layers(file.get("model_weights", file))
    except OSError as error:
        raise WeightFileError(f"{path} is not a readable HDF5 file: {error}") from error


def _read_layers(root: Any) -> StoredLayers:
    import h5py

    stored = StoredLayers()
    for name, group in root.items():
        arrays: dict[str, Any] = {}
        if isinstance(group, h5py.Dataset):
            arrays[name] = group
        else:
            group.visititems(lambda key, item, into=arrays: into.update({key: item} if hasattr(item, "shape") else {}))
        convolution = _CONVOLUTION.fullmatch(name)
        if name in _FULLY_CONNECTED:
            stored.ignored.extend(f"{name}/{key}" for key in arrays)
        elif convolution:
            layer = f"conv{convolution[1]}_{convolution[2]}"
            for key, array in arrays.items():
                # kernel:0 and bias:0 today, block1_conv1_W_1:0 and ..._b_1:0 in the files of Keras 1.
                part = {4: "kernel", 1: "bias"}.get(array.ndim)
                if part is None or (layer, part) in stored.arrays:
                    stored.unexpected.append(f"{name}/{key}")
                else:
                    stored.arrays[layer, part] = array[()]
        else:
            # Input, pools and flatten are groups without arrays; optimiser state of a saved model is beside the root.
            stored.unexpected.extend(f"{name}/{key}" for key in arrays)
    return stored
