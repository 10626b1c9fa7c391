"""What is known about one city's tiles and panoramas besides their pixels: positions, references, offsets."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from vigor_jax.datasets.stored_table import StoredTable


@dataclasses.dataclass(frozen=True)
class CityTable(StoredTable):
    """One city's tables; row i of an array is tile or panorama i."""

    name_fields: ClassVar[Sequence[str]] = ("tile_names", "panorama_names")

    tile_names: Sequence[str]
    tile_lat: Float[np.ndarray, "tiles"]  # degrees, of the centre
    tile_lon: Float[np.ndarray, "tiles"]
    panorama_names: Sequence[str]
    panorama_lat: Float[np.ndarray, "panoramas"]
    panorama_lon: Float[np.ndarray, "panoramas"]
    references: Int[np.ndarray, "panoramas 4"]  # rows of the tiles: the positive, then three semi-positives
    offset_px: Float[np.ndarray, "panoramas 4 2"]  # as of geometry.tile_offset, 640 px tiles
    same_area_test: Bool[np.ndarray, "panoramas"]

    @staticmethod
    def problem(arrays: Mapping[str, np.ndarray]) -> str | None:
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
