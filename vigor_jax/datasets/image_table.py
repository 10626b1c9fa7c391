"""What is known about labelled images besides their pixels: names, classes or positions, and published splits."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Int8, Int32

from vigor_jax.datasets.stored_table import StoredTable

PUBLISHED_SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class ImageTable(StoredTable):
    """Labelled images; row i of an array is image i."""

    name_fields: ClassVar[Sequence[str]] = ("names", "class_names", "coarse_names")

    names: Sequence[str]
    labels: Int32[np.ndarray, "images"]  # index into class_names
    split: Int8[np.ndarray, "images"]  # index into PUBLISHED_SPLITS
    class_names: Sequence[str]
    # Groups of classes, where the data set has them; else nothing.
    coarse_of_class: Int32[np.ndarray, "coarse_classes"] = dataclasses.field(
        default_factory=lambda: np.zeros(0, np.int32)
    )
    coarse_names: Sequence[str] = ()
    # Where each was taken, in degrees, where the data set says; else nothing.
    lat: Float64[np.ndarray, "positions"] = dataclasses.field(default_factory=lambda: np.zeros(0))
    lon: Float64[np.ndarray, "positions"] = dataclasses.field(default_factory=lambda: np.zeros(0))

    @staticmethod
    def problem(arrays: Mapping[str, np.ndarray]) -> str | None:
        """What is wrong with tables that were read; None if nothing is."""
        images, classes = len(np.atleast_1d(arrays["names"])), len(np.atleast_1d(arrays["class_names"]))
        groups = len(np.atleast_1d(arrays["coarse_names"]))
        positions = images if arrays["lat"].size else 0
        expected = {
            "names": ("U", images),
            "labels": ("i", images),
            "split": ("i", images),
            "class_names": ("U", classes),
            "coarse_of_class": ("i", classes if groups else 0),
            "coarse_names": ("U" if groups else "f", groups),  # an empty array has no kind of its own
            "lat": ("f", positions),
            "lon": ("f", positions),
        }
        for name, (kind, length) in expected.items():
            array = arrays[name]
            if array.dtype.kind != kind or array.shape != (length,):
                return f"{name} is {array.dtype} {list(array.shape)} of {images} images and {classes} classes"
        limits = {"labels": classes, "split": len(PUBLISHED_SPLITS), "coarse_of_class": groups}
        for name, limit in limits.items():
            if ((arrays[name] < 0) | (arrays[name] >= limit)).any():
                return f"{name} holds numbers beyond the {limit} there are"
        if not ((np.abs(arrays["lat"]) <= 90) & (np.abs(arrays["lon"]) <= 180)).all():
            return "lat and lon hold a position that is none"
        return None

    def part(self, rows: slice) -> "ImageTable":
        """Some of the images, of all of the classes."""
        parts = {name: getattr(self, name)[rows] for name in ("names", "labels", "split", "lat", "lon")}
        return dataclasses.replace(self, **parts)

    def counts(self) -> Int32[np.ndarray, "classes splits"]:
        """Images of each class and published split."""
        shape = (len(self.class_names), len(PUBLISHED_SPLITS))
        return (
            np.bincount(np.ravel_multi_index((self.labels, self.split), shape), minlength=shape[0] * shape[1])
            .reshape(shape)
            .astype(np.int32)
        )
