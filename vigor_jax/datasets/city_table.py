"""What is known about one city's tiles and panoramas besides their pixels: positions, references, offsets."""

import dataclasses
import hashlib
import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int


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
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as archive:
            arrays = {field.name: archive[field.name] for field in dataclasses.fields(cls)}
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
