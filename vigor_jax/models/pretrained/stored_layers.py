"""What a weight file holds, in our names and layout, before anybody has checked that it is a whole VGG-16."""

import dataclasses
import importlib
from types import ModuleType

import numpy as np

from vigor_jax.errors import UserError


class WeightFileError(UserError):
    """A weight file that is not what its name says; the message names the file and the layers."""


@dataclasses.dataclass
class StoredLayers:
    """The arrays of one file.

    Attributes:
      arrays: by (layer, "kernel" or "bias") in the names of `vgg.layers`; kernels [height, width, in, out].
      ignored: the file's own names of fully connected layers, which the towers do not have.
      unexpected: the file's own names of everything else.
    """

    arrays: dict[tuple[str, str], np.ndarray] = dataclasses.field(default_factory=dict)
    ignored: list[str] = dataclasses.field(default_factory=list)
    unexpected: list[str] = dataclasses.field(default_factory=list)


def require_package(name: str, path: str, install: str) -> ModuleType:
    """Imports what reading `path` needs, or says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise WeightFileError(f"{path}: reading it needs {name.split('.')[0]}. Install it: {install}") from error
