"""NumPy's archives of arrays (.npz), read without its unpickling, and without believing what a header claims."""

import math
import zipfile
import zlib

import numpy as np

from vigor_jax.models.pretrained.weight_file_error import WeightFileError

_NUMBERS = "fiub"


def read_npz(path: str, largest: int) -> dict[str, np.ndarray]:
    """Every array of a file by its name.

    Args:
      path: of the file, compressed or not.
      largest: numbers that any array may have.

    Raises:
      WeightFileError: damaged, or something in it is no plain array of numbers.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name in arrays:
                    raise WeightFileError(f"{path} has two arrays {name!r}. It is damaged or forged.")
                arrays[name] = _read(archive, member, name, path, largest)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        # RuntimeError: encrypted; NotImplementedError, one of its kinds: compressed by something unknown.
        raise WeightFileError(f"{path} is not a readable .npz file: {error}") from error
    return arrays


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, path: str, largest: int) -> np.ndarray:
    with archive.open(member) as file:
        first = np.lib.format.read_magic(file) == (1, 0)
        read_header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
        if dtype.kind not in _NUMBERS:
            raise WeightFileError(f"{path}: {name!r} is {dtype}, not numbers. Objects could run code and are not read.")
        length = math.prod(shape) * dtype.itemsize
        if length != member.file_size - file.tell() or math.prod(shape) > largest:
            raise WeightFileError(
                f"{path}: {name!r} claims to be {dtype} {list(shape)}, of {length:,} bytes, and has "
                f"{member.file_size - file.tell():,}, or is larger than any layer. It is damaged or forged."
            )
        data = file.read(length)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
