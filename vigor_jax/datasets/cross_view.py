"""What every prepared cross-view data set looks like to those who use it: tables and encoded images."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int


@runtime_checkable
class EncodedImages(Protocol):
    """Random access to encoded image files; safe to call from many threads."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> bytes: ...


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Aerial tiles: the references of every query. Row i of each array is tile i of `CrossViewData.aerial`."""

    names: Sequence[str]
    lat: Float[np.ndarray, "tiles"]  # degrees, of the tile's centre
    lon: Float[np.ndarray, "tiles"]
    city: Int[np.ndarray, "tiles"]  # index into CrossViewData.cities

    def __len__(self) -> int:
        return len(self.lat)


@dataclasses.dataclass(frozen=True)
class Panoramas:
    """Street panoramas: the queries. Row i of each array is panorama i of `CrossViewData.ground`."""

    names: Sequence[str]
    lat: Float[np.ndarray, "panoramas"]
    lon: Float[np.ndarray, "panoramas"]
    city: Int[np.ndarray, "panoramas"]
    references: Int[np.ndarray, "panoramas 4"]  # rows of Tiles: the positive, then three semi-positives
    offset_px: Float[np.ndarray, "panoramas 4 2"]  # geometry.tile_offset to each reference, 640 px tiles
    same_area_test: np.ndarray  # bool [panoramas]: in the published test half of the same-area protocol

    def __len__(self) -> int:
        return len(self.lat)


@dataclasses.dataclass(frozen=True)
class CrossViewData:
    """A prepared data set: its tables in memory, its images on disk."""

    name: str
    cities: tuple[str, ...]
    tiles: Tiles
    panoramas: Panoramas
    aerial: EncodedImages
    ground: EncodedImages
    fingerprint: str  # changes when any table or the image preparation does; a resume compares it

    def described(self) -> str:
        """Says in a line what there is."""
        return f"{', '.join(self.cities)}: {len(self.tiles):,} tiles, {len(self.panoramas):,} panoramas"
