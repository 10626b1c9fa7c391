"""ResNet's weights as Hugging Face transformers and as torchvision name them; timm has torchvision's names.

All expect preprocessing "torchvision". Weights of the paper's first version, with the stride on the 1x1 convolution
(Caffe's, Detectron's), have arrays of the same shapes and give wrong features here.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from vigor_jax.models.classifier import Classifier
from vigor_jax.models.pretrained.conversion import Table, batch_norm, convolution, linear, variable_shapes
from vigor_jax.models.pretrained.file_layouts import FileLayout, MatchedFile, matched_layout, to_layout
from vigor_jax.models.resnet import ResNet

Library = Literal["transformers", "torchvision"]

_IGNORED = (r".*\.num_batches_tracked",)


def from_torch(
    state: Mapping[str, np.ndarray],
    module: ResNet | Classifier,
    *,
    source: str = "the state",
    allow_partial: bool = False,
) -> dict[str, Any]:
    """Variables from the state of a ResNet or of a classifier over one, of any of the libraries.

    Args:
      state: arrays by name; the logits of a classifier's file are left out where `module` is the backbone.
      module: a ResNet of the file's depths, or a classifier over one.
      source: what errors call the state.
      allow_partial: see `conversion.to_ours`.

    Raises:
      WeightFileError: something is missing, unexpected, of another shape or not finite.
    """
    return matched(state, module).load(source=source, allow_partial=allow_partial)[0]


def matched(state: Mapping[str, np.ndarray], module: ResNet | Classifier) -> MatchedFile:
    """The state of any of the libraries in its layout; arguments and errors as for `from_torch`."""
    shapes = variable_shapes(module, (1, 32, 32, 3))
    return matched_layout(state, module, layouts(module), shapes, ignored=_IGNORED)


def to_torch(
    variables: Mapping[str, Any], module: ResNet | Classifier, library: Library = "transformers"
) -> dict[str, np.ndarray]:
    """The state that a library's classes have, without counters: the inverse of `from_torch`."""
    return to_layout(variables, module, layouts(module)[library])


def layouts(module: ResNet | Classifier) -> dict[Library, FileLayout]:
    """By library, the names of its files."""
    network = module.backbone if isinstance(module, Classifier) else module
    if not isinstance(network, ResNet):
        raise ValueError(f"a classifier over {type(network).__name__}, not over a ResNet")
    blocks = [(stage, block) for stage, depth in enumerate(network.depths) for block in range(depth)]
    return {
        "transformers": FileLayout("resnet.", _transformers(blocks), (), linear("classifier.1", "logits")),
        "torchvision": FileLayout("", _torchvision(blocks), (), linear("fc", "logits")),
    }


def _torchvision(blocks: list[tuple[int, int]]) -> Table:
    table = [*_normalised("conv1", "bn1", "conv1", "bn1")]
    for stage, block in blocks:
        theirs, ours = f"layer{stage + 1}.{block}", f"layer{stage + 1}_{block}"
        for i in (1, 2, 3):
            table += _normalised(f"{theirs}.conv{i}", f"{theirs}.bn{i}", f"{ours}/conv{i}", f"{ours}/bn{i}")
        if block == 0:
            shortcut = f"{theirs}.downsample"
            table += _normalised(f"{shortcut}.0", f"{shortcut}.1", f"{ours}/downsample_conv", f"{ours}/downsample_bn")
    return tuple(table)


def _transformers(blocks: list[tuple[int, int]]) -> Table:
    table = [*_layer("embedder.embedder", "conv1", "bn1")]
    for stage, block in blocks:
        theirs, ours = f"encoder.stages.{stage}.layers.{block}", f"layer{stage + 1}_{block}"
        for i in (1, 2, 3):
            table += _layer(f"{theirs}.layer.{i - 1}", f"{ours}/conv{i}", f"{ours}/bn{i}")
        if block == 0:
            table += _layer(f"{theirs}.shortcut", f"{ours}/downsample_conv", f"{ours}/downsample_bn")
    return tuple(table)


def _layer(theirs: str, conv: str, bn: str) -> Table:
    return _normalised(f"{theirs}.convolution", f"{theirs}.normalization", conv, bn)


def _normalised(their_conv: str, their_bn: str, conv: str, bn: str) -> Table:
    return (*convolution(their_conv, conv, bias=False), *batch_norm(their_bn, bn))
