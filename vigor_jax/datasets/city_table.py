"""What is known about one city's tiles and panoramas besides their pixels: positions, references, offsets."""

import dataclasses
import hashlib
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from vigor_jax.errors import UserError


class TableError(UserError):
    """Stored tables that cannot be used; names the file and what is wrong."""


@dataclasses.dataclass(frozen=True)
class CityTable:
    """One city's tables; row i of an array is tile or panorama i."""

    tile_names: Sequence[str]
    tile_lat: Float[np.ndarray, "tiles"]  # degrees, of the centre
    tile_lon: Float[np.ndarray, "tiles"]
    panorama_names: Sequence[str]
    panorama_lat: Float[np.ndarray, "panoramas"]
    panorama_lon: Float[np.ndarray, "panoramas"]
    references: Int[np.ndarray, "panoramas 4"]  # rows of the tiles: the positive, then three semi-positives
    offset_px: Float[np.ndarray, "panoramas 4 2"]  # as of geometry.tile_offset, 640 px tiles
    same_area_test: Bool[np.ndarray, "panoramas"]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the tables as an .npz without pickles."""
        arrays = {field.name: np.asarray(getattr(self, field.name)) for field in dataclasses.fields(self)}
        with open(path, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "CityTable":
        """Reads what `save` wrote.

        Raises:
          TableError: it is damaged, or its tables do not belong together.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {field.name: archive[field.name] for field in dataclasses.fields(cls)}
        # MemoryError: a header that claims more than there is.
        except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
            raise TableError(f"{path} is damaged ({error}). Prepare the data again.") from error
        problem = _problem(arrays)
        if problem:
            raise TableError(f"{path} is not what was prepared: {problem}. Prepare the data again.")
        for key in ("tile_names", "panorama_names"):
            arrays[key] = tuple(arrays[key].tolist())
        return cls(**arrays)

    def digest(self) -> str:
        """SHA-256 over every table: equal if and only if all values and their order are."""
        sha = hashlib.sha256()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            data = value.tobytes() if isinstance(value, np.ndarray) else "\n".join(value).encode()
            shape = value.shape if isinstance(value, np.ndarray) else (len(value),)
            sha.update(f"{field.name} {shape} {getattr(value, 'dtype', 'str')}\n".encode() + data)
        return sha.hexdigest()


def _problem(arrays: Mapping[str, np.ndarray]) -> str | None:
    """What is wrong with tables that were read; None if nothing is."""
    tiles, panoramas = len(np.atleast_1d(arrays["tile_names"])), len(np.atleast_1d(arrays["panorama_names"]))
    expected = {
        "tile_names": ("U", (tiles,)),
        "tile_lat": ("f", (tiles,)),
        "tile_lon": ("f", (tiles,)),
        "panorama_names": ("U", (panoramas,)),
        "panorama_lat": ("f", (panoramas,)),
        "panorama_lon": ("f", (panoramas,)),
        "references": ("i", (panoramas, 4)),
        "offset_px": ("f", (panoramas, 4, 2)),
        "same_area_test": ("b", (panoramas,)),
    }
    for name, (kind, shape) in expected.items():
        array = arrays[name]
        if array.dtype.kind != kind or array.shape != shape:
            return f"{name} is {array.dtype} {list(array.shape)} of {tiles} tiles and {panoramas} panoramas"
        if kind == "f" and not np.isfinite(array).all():
            return f"{name} holds numbers that are not finite"
    references = arrays["references"]
    if ((references < 0) | (references >= tiles)).any():
        return f"references name tiles beyond the {tiles}"
    return None
