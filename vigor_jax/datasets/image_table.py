"""What is known about labelled images besides their pixels: names, classes, the splits they were published in."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Int8, Int32

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

    @staticmethod
    def problem(arrays: Mapping[str, np.ndarray]) -> str | None:
        """What is wrong with tables that were read; None if nothing is."""
        images, classes = len(np.atleast_1d(arrays["names"])), len(np.atleast_1d(arrays["class_names"]))
        groups = len(np.atleast_1d(arrays["coarse_names"]))
        expected = {
            "names": ("U", images),
            "labels": ("i", images),
            "split": ("i", images),
            "class_names": ("U", classes),
            "coarse_of_class": ("i", classes if groups else 0),
            "coarse_names": ("U" if groups else "f", groups),  # an empty array has no kind of its own
        }
        for name, (kind, length) in expected.items():
            array = arrays[name]
            if array.dtype.kind != kind or array.shape != (length,):
                return f"{name} is {array.dtype} {list(array.shape)} of {images} images and {classes} classes"
        limits = {"labels": classes, "split": len(PUBLISHED_SPLITS), "coarse_of_class": groups}
        for name, limit in limits.items():
            if ((arrays[name] < 0) | (arrays[name] >= limit)).any():
                return f"{name} holds numbers beyond the {limit} there are"
        return None

    def part(self, rows: slice) -> "ImageTable":
        """Some of the images, of all of the classes."""
        return dataclasses.replace(self, names=self.names[rows], labels=self.labels[rows], split=self.split[rows])

    def counts(self) -> Int32[np.ndarray, "classes splits"]:
        """Images of each class and published split."""
        shape = (len(self.class_names), len(PUBLISHED_SPLITS))
        return (
            np.bincount(np.ravel_multi_index((self.labels, self.split), shape), minlength=shape[0] * shape[1])
            .reshape(shape)
            .astype(np.int32)
        )
