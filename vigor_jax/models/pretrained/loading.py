"""One entry for weight files of every registered backbone and of classifiers over them."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from absl import logging

from vigor_jax.models import registry
from vigor_jax.models.classifier import Classifier
from vigor_jax.models.convnext import ConvNeXt
from vigor_jax.models.efficientnet import EfficientNet
from vigor_jax.models.mobilenet import MobileNet
from vigor_jax.models.pretrained import convnext, efficientnet, mobilenet, own_names, resnet, swin, vgg, vit
from vigor_jax.models.pretrained.conversion import variable_shapes
from vigor_jax.models.pretrained.file_layouts import MatchedFile
from vigor_jax.models.pretrained.load_report import Report
from vigor_jax.models.pretrained.weight_file import read_weights
from vigor_jax.models.resnet import ResNet
from vigor_jax.models.swin import Swin
from vigor_jax.models.vgg import VGG
from vigor_jax.models.vit import ViT

_FAMILIES = {
    VGG: vgg.matched,
    MobileNet: mobilenet.matched,
    ResNet: resnet.matched,
    EfficientNet: efficientnet.matched,
    ConvNeXt: convnext.matched,
    Swin: swin.matched,
    ViT: vit.matched,
}


class Loaded(NamedTuple):
    """The weights of a file.

    Attributes:
      variables: float32, the tree of the module's variables; without what a partial load did not find.
        `conversion.filled(variables, fresh)` puts them into freshly initialised ones.
      preprocessing: name of the pixel statistics that the weights expect, one of `preprocessing.PREPROCESSINGS`.
      report: what became of every name of the file.
    """

    variables: dict[str, Any]
    preprocessing: str
    report: Report


def load(module: nn.Module, name: str, path: str | os.PathLike[str], *, allow_partial: bool = False) -> Loaded:
    """The weights of a file for a registered backbone or a classifier over one, whoever published them.

    Which library's names the file has is seen from the names. A classifier's file loads into its backbone alone too.

    Args:
      module: `registry.backbone(name)`, or `classifier(name, ...)`, with any attributes that the file's shapes allow.
      name: of the registry.
      path: .safetensors, .pth, .pt, .bin, .h5, .npz, or the vgg16.npy of VIGOR's authors. Nothing in it is run.
      allow_partial: load what fits. Without it everything has to: no variable without an array, no array without a
        variable, every shape as it should be.

    Raises:
      UnknownBackboneError: no backbone has this name.
      WeightFileError: the file is missing, damaged, of an unknown kind or not of this module (`UnfittingWeightsError`,
        with the report).
      ValueError: the module is of a kind that nobody publishes weights of.
    """
    registry.entry(name)  # first: a large file takes a while to read
    path = os.fspath(path)
    return from_arrays(module, name, read_weights(path), source=path, allow_partial=allow_partial)


def from_arrays(
    module: nn.Module, name: str, arrays: Mapping[str, np.ndarray], *, source: str, allow_partial: bool = False
) -> Loaded:
    """Loads what `load` does, from the arrays of a file by their names in it.

    Args:
      module: as of `load`.
      name: of the registry.
      arrays: by name, of a library or our own (`own_names`).
      source: where they are from, for errors and the log.
      allow_partial: as of `load`, and so are the errors.
    """
    entry = registry.entry(name)
    file = _matched(arrays, module, entry)
    variables, report = file.load(source=source, allow_partial=allow_partial)
    preprocessing = file.preprocessing or entry.preprocessing
    logging.info("%s: weights of %s, preprocessing %r.", source, name, preprocessing)
    return Loaded(variables, preprocessing, report)


def _matched(state: Mapping[str, np.ndarray], module: nn.Module, entry: registry.BackboneEntry) -> MatchedFile:
    classifier = isinstance(module, Classifier)
    if own_names.has_own_names(state):
        side = entry.image_size
        if classifier and entry.fully_connected_stride:
            side = entry.fully_connected_stride * module.head.positions
        return own_names.matched(state, module, variable_shapes(module, (1, side, side, 3)))
    backbone = module.backbone if classifier else module
    families = [matched for kind, matched in _FAMILIES.items() if isinstance(backbone, kind)]
    if not families:
        raise ValueError(f"there is no conversion of weights for {type(backbone).__name__}")
    return families[0](state, module)
