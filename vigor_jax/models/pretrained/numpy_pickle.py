"""VGG-16 as VIGOR's authors load it: vgg16.npy, a pickled {name: [kernel, bias]} of Caffe's Oxford weights.

A pickle can run any code, and this one is passed from hand to hand. So nothing of NumPy's own unpickling runs: the
few names that a pickled array refers to resolve to the stand-ins below, and any other name is refused.
"""

import io
import os
import pickle
from typing import Any, ClassVar

import numpy as np

from vigor_jax.models.pretrained.load_report import some
from vigor_jax.models.pretrained.weight_file_error import WeightFileError
from vigor_jax.models.vgg import layers

_FULLY_CONNECTED = ("fc6", "fc7", "fc8")


def read_npy(path: str) -> dict[str, np.ndarray]:
    """The convolutions as "conv1_1/kernel" and "conv1_1/bias", without running anything that the file brings along.

    Pickles of Python 2 too. The fully connected layers are left in the file.
    """
    tree = _unpickle(path)
    tree = tree.value if isinstance(tree, _Array) else tree
    if not isinstance(tree, dict):
        raise WeightFileError(f"{path} holds {type(tree).__name__}, not the dict of layers that vgg16.npy is.")
    arrays: dict[str, np.ndarray] = {}
    unexpected = []
    for name, pair in tree.items():
        if name in layers("D") and isinstance(pair, list | tuple) and len(pair) == 2 and all(map(_is_numbers, pair)):
            arrays.update({f"{name}/{part}": one.value for part, one in zip(("kernel", "bias"), pair, strict=True)})
        elif name not in _FULLY_CONNECTED:
            unexpected.append(name if isinstance(name, str) else _printed(name))
    if unexpected:
        raise WeightFileError(f"{path} is no vgg16.npy: {len(unexpected):,} unexpected: {some(unexpected)}.")
    return arrays


def _unpickle(path: str) -> Any:
    try:
        with open(path, "rb") as file:
            if np.lib.format.read_magic(file) == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            else:
                shape, _, dtype = np.lib.format.read_array_header_2_0(file)
            if dtype != np.dtype(object) or shape != ():
                raise WeightFileError(f"{path} holds an array {dtype} {list(shape)}, not the dict that vgg16.npy is.")
            return _Unpickler(_Rest(file), encoding="latin1").load()
    except WeightFileError:
        raise
    except OSError as error:
        raise WeightFileError(f"{path} cannot be read: {error}") from error
    except Exception as error:  # what a parser of Python's own raises over damaged bytes is of any kind
        raise WeightFileError(f"{path} is not a readable vgg16.npy: {error!r}") from error


class _Rest:
    """The rest of a file, of which no more is asked than there is: reading makes room for what it is asked for."""

    def __init__(self, file: io.BufferedReader):
        self._file = file
        self._length = os.fstat(file.fileno()).st_size
        self.readline = file.readline

    def read(self, size: int) -> bytes:
        return self._file.read(max(0, min(size, self._length - self._file.tell())))


class _Dtype:
    """Stands in for numpy.dtype: plain numbers or objects, in either byte order."""

    def __init__(self, name: Any, *_: Any):
        if not isinstance(name, str) or name not in ("f4", "f8", "O8", "O4", "O", "|O"):
            raise pickle.UnpicklingError(f"it holds numbers of type {_printed(name)}; VGG-16's are float32")
        self.name, self.order = name, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"


class _Array:
    """Stands in for numpy.ndarray: `value` is the array, or the one object of an array without dimensions."""

    value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype):
            raise pickle.UnpicklingError("it holds an array without a number type")
        if "O" in dtype.name:
            if shape != () or not isinstance(data, list) or len(data) != 1:
                raise pickle.UnpicklingError("it holds an array of objects; expected one dict")
            self.value = data[0]
            return
        # Python 2 wrote bytes where Python 3 reads text.
        data = data.encode("latin1") if isinstance(data, str) else data
        array = np.frombuffer(data, dtype=dtype.order + dtype.name)
        self.value = array.reshape(shape, order="F" if fortran else "C").astype(np.float32)


def _printed(item: Any) -> str:
    """For an error. Only text is shown: nested containers that share their parts can take for ever to print."""
    return repr(item) if isinstance(item, str) else f"a {type(item).__name__}"


def _is_numbers(item: Any) -> bool:
    return isinstance(item, _Array) and isinstance(item.value, np.ndarray)


class _Reconstruct:
    """Stands in for the function that makes an empty array."""

    __slots__ = ()  # nothing a pickle sets on it can stay

    def __call__(self, *_: Any) -> _Array:
        return _Array()


class _Encode:
    """Python 3 writes bytes as latin1 text in pickles that Python 2 can read."""

    __slots__ = ()

    def __call__(self, text: Any, encoding: Any) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it encodes bytes as {_printed(encoding)}")
        return text.encode("latin1")


# Not the faster one in C, which makes room for whatever length or number of entries a damaged file claims.
class _Unpickler(pickle._Unpickler):
    """Knows builtin containers and the stand-ins, nothing else."""

    _allowed: ClassVar = {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
        ("numpy.core.multiarray", "_reconstruct"): _Reconstruct(),
        ("numpy._core.multiarray", "_reconstruct"): _Reconstruct(),
        ("_codecs", "encode"): _Encode(),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which a file of weights has no use for. The file may be malicious; "
                "nothing of it was run"
            )
        return self._allowed[module, name]
