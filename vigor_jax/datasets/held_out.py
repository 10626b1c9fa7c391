"""Which labelled images train, which select the best checkpoint, which test.

A data set's own test images test, and its own validation images select. Where it has only one kind of these, they
test, and a share of the training images is held out to select: by a hash of their names, so that the same images are
held out whatever the seed, the machine and the order of the files, and few change sides when images are added.
"""

import dataclasses
import hashlib

import numpy as np
from jaxtyping import Int

from vigor_jax.datasets.image_table import PUBLISHED_SPLITS, ImageTable
from vigor_jax.errors import UserError

_TRAIN, _VALIDATION, _TEST = range(len(PUBLISHED_SPLITS))


class SplitError(UserError):
    """Images that cannot be divided as the config says; names the key and the mend."""


@dataclasses.dataclass(frozen=True)
class Splits:
    """Rows of each, ascending; no row is in two."""

    train: Int[np.ndarray, "train"]
    validation: Int[np.ndarray, "validation"]
    test: Int[np.ndarray, "test"]


def divide(table: ImageTable, fraction: float) -> Splits:
    """Divides the images of a data set.

    Args:
      table: of all images.
      fraction: of the training images, held out where nothing else can select beside what tests. 0: the images that
        would test select, and none test.

    Raises:
      SplitError: nothing trains, or there is nothing to select by.
    """
    train, validation, test = (np.flatnonzero(table.split == split) for split in range(len(PUBLISHED_SPLITS)))
    if not len(train):
        raise SplitError(f"none of the {len(table.names):,} images is a training image.")
    if len(validation) and len(test):
        return Splits(train, validation, test)
    others = np.concatenate([validation, test])
    if fraction == 0:
        if not len(others):
            raise SplitError(
                "config.images.validation_fraction = 0: the data set has nothing but training images, so there would "
                "be none to select the best checkpoint by. Set a share, such as 0.1."
            )
        return Splits(train, others, np.zeros(0, np.int64))
    held_out = np.array([_position(table.names[row]) < fraction for row in train])
    labels, classes = table.labels[train], len(table.class_names)
    gone = np.bincount(labels[held_out], minlength=classes) == np.bincount(labels, minlength=classes)
    for label in np.unique(labels[held_out & gone[labels]]):
        # A class must train: its last image does.
        last = max(np.flatnonzero(labels == label), key=lambda row: _position(table.names[train[row]]))
        held_out[last] = False
    if not held_out.any():
        raise SplitError(
            f"config.images.validation_fraction = {fraction} holds out none of the {len(train):,} training images. Set "
            "a larger share."
        )
    return Splits(train[~held_out], train[held_out], others)


def _position(name: str) -> float:
    """Where a name falls in [0, 1)."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48
