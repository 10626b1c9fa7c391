"""What the last evaluation of a classifier found for every image."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.workdir import findings


@dataclasses.dataclass(frozen=True)
class ClassFindings:
    """One split's images, and which classes the network found most probable."""

    row: Int[np.ndarray, "images"]  # of LabelledImages
    label: Int[np.ndarray, "images"]  # the true class
    probable: Int[np.ndarray, "images shown"]  # classes, most probable first
    probability: Float[np.ndarray, "images shown"]

    @property
    def predicted(self) -> Int[np.ndarray, "images"]:
        """The most probable class of each image."""
        return self.probable[:, 0]

    def __len__(self) -> int:
        return len(self.row)


def read(workdir: Path, data: LabelledImages) -> dict[str, ClassFindings] | None:
    """The findings of every split; None if the run left none.

    Raises:
      RunFileError: the file is damaged or of another data set.
    """
    return findings.read(workdir, functools.partial(_checked, data=data))


def _checked(path: Path, split: str, arrays: findings.Arrays, data: LabelledImages) -> ClassFindings:
    fields = [field.name for field in dataclasses.fields(ClassFindings)]
    found = ClassFindings(**findings.chosen(path, split, arrays, fields))
    findings.require_within(path, split, found.row, len(data), f"row of {data.name}")
    for classes in (found.label, found.probable):
        findings.require_within(path, split, classes, len(data.class_names), f"class of {data.name}")
    return found
