"""The convolutions of VGG-16 for the towers."""

import os

import numpy as np

from vigor_jax.models.pretrained.loading import load
from vigor_jax.models.vgg import VGG


def load_vgg16(path: str | os.PathLike[str]) -> tuple[dict[str, dict[str, np.ndarray]], str]:
    """The thirteen convolutions of a VGG-16 weight file: torchvision, timm, Keras, or the authors' vgg16.npy.

    Args:
      path: as for `loading.load`, with or without the fully connected layers.

    Returns:
      The "params" of a `VGG` of width 1, float32, and the name of the preprocessing that belongs to them.

    Raises:
      WeightFileError: no such file, unknown kind, damaged, or arrays missing, unexpected, mis-shaped or not finite.
    """
    loaded = load(VGG(), "vgg16", path)
    return loaded.variables["params"], loaded.preprocessing
