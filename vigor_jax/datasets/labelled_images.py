"""What every prepared data set of labelled images looks like to those who use it."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int, Int32

from vigor_jax.datasets.cross_view import EncodedImages


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Images of classes: tables in memory, images on disk. Row i of each array is image i."""

    name: str
    names: Sequence[str]  # of the images, as the raw data has them
    labels: Int32[np.ndarray, "images"]  # index into class_names
    class_names: tuple[str, ...]
    images: EncodedImages  # of any size
    sizes: Int32[np.ndarray, "images 2"]  # height, width in pixels
    train: Int[np.ndarray, "train"]  # rows, ascending; no row is of two splits
    validation: Int[np.ndarray, "validation"]  # selects the best checkpoint
    test: Int[np.ndarray, "test"]  # chooses nothing; empty where a data set has no more images
    # Where each was taken, in degrees, where the data set says; else nothing.
    lat: Float64[np.ndarray, "positions"] = dataclasses.field(default_factory=lambda: np.zeros(0), kw_only=True)
    lon: Float64[np.ndarray, "positions"] = dataclasses.field(default_factory=lambda: np.zeros(0), kw_only=True)
    fingerprint: str  # changes when any table, the splits or the image preparation do; a resume compares it

    def __len__(self) -> int:
        return len(self.labels)

    def described(self) -> str:
        """Says in a line what there is."""
        counts = {"train": self.train, "validation": self.validation, "test": self.test}
        listed = ", ".join(f"{len(rows):,} {split}" for split, rows in counts.items())
        return f"{self.name}: {len(self.class_names)} classes, {listed} images"

    @property
    def splits(self) -> dict[str, Int[np.ndarray, "rows"]]:
        """The rows that are evaluated, by the name of the split: those that have any."""
        named = {"validation": self.validation, "test": self.test}
        return {name: rows for name, rows in named.items() if len(rows)}
