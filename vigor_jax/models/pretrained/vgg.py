"""VGG's weights, of every configuration, as torchvision, timm and Keras name them, and the convolutions of vgg16.npy.

What torchvision and timm publish was trained by them (preprocessing "torchvision"); Keras has the authors' own weights
("keras"), and so has vgg16.npy, with which VIGOR's authors subtract slightly other means ("vigor"). Nobody publishes
weights of A-LRN; its names are those of a `torch.nn.Sequential` with a `LocalResponseNorm` where the paper has it.

The first fully connected layer reads a map that torch flattens by channel, row, column and Keras by row, column,
channel; here it is a convolution.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from vigor_jax.models.classifier import Classifier
from vigor_jax.models.pretrained.conversion import (
    POINTWISE_AS_LINEAR,
    SAME,
    Layout,
    Table,
    convolution,
    each,
    linear,
    link,
    variable_shapes,
)
from vigor_jax.models.pretrained.file_layouts import FileLayout, MatchedFile, matched_layout, to_layout
from vigor_jax.models.vgg import CONVOLUTIONS, VGG, VGGHead, layers

Library = Literal["torchvision", "timm", "keras", "keras_1", "caffe"]


def from_arrays(
    state: Mapping[str, np.ndarray],
    module: VGG | Classifier,
    *,
    source: str = "the state",
    allow_partial: bool = False,
) -> dict[str, Any]:
    """Variables from the arrays of a VGG or of a classifier over one, as any of the libraries names them.

    Args:
      state: arrays by name; the fully connected ones of a classifier's file are left out where `module` is the
        backbone.
      module: a VGG of the file's configuration, or a classifier over one.
      source: what errors call the state.
      allow_partial: see `conversion.to_ours`.

    Raises:
      WeightFileError: something is missing, unexpected, of another shape or not finite.
    """
    return matched(state, module).load(source=source, allow_partial=allow_partial)[0]


def matched(state: Mapping[str, np.ndarray], module: VGG | Classifier) -> MatchedFile:
    """The arrays of any of the libraries in their layout; arguments and errors as for `from_arrays`."""
    side = 32 * module.head.positions if isinstance(module, Classifier) and isinstance(module.head, VGGHead) else 32
    return matched_layout(state, module, layouts(module), variable_shapes(module, (1, side, side, 3)))


def to_arrays(
    variables: Mapping[str, Any], module: VGG | Classifier, library: Library = "torchvision"
) -> dict[str, np.ndarray]:
    """The arrays that a library's files have: the inverse of `from_arrays`."""
    return to_layout(variables, module, layouts(module)[library])


def layouts(module: VGG | Classifier) -> dict[Library, FileLayout]:
    """By library, the names of its files. "keras_1" is Keras' first version, which wrote most of the files about."""
    network, positions = _network(module)
    torch = _torch(network)
    keras = {name: f"block{name[4]}_conv{name[6]}" for name in layers(network.configuration)}
    return {
        "torchvision": FileLayout(
            "",
            torch,
            (
                *convolution("classifier.0", "fc6", bias=True, layout=_flat_chw(positions)),
                *linear("classifier.3", "fc7"),
            ),
            linear("classifier.6", "logits"),
            "torchvision",
        ),
        "timm": FileLayout(
            "",
            torch,
            (
                *convolution("pre_logits.fc1", "fc6", bias=True),
                *convolution("pre_logits.fc2", "fc7", bias=True, layout=POINTWISE_AS_LINEAR),
            ),
            linear("head.fc", "logits"),
            "torchvision",
        ),
        "keras": _keras(keras, positions, "{0}/kernel", "{0}/bias"),
        "keras_1": _keras(keras, positions, "{0}/{0}_W_1", "{0}/{0}_b_1"),
        # As `numpy_pickle` reads it: without the fully connected layers.
        "caffe": _keras({name: name for name in keras}, positions, "{0}/kernel", "{0}/bias", _CAFFE, "vigor"),
    }


_KERAS = {"fc6": "fc1", "fc7": "fc2", "logits": "predictions"}
_CAFFE = {"fc6": "fc6", "fc7": "fc7", "logits": "fc8"}


def _torch(network: VGG) -> Table:
    """Names of torchvision, which counts ReLUs, pools and normalisations too."""
    table: list = []
    position = 0
    for stage, count in enumerate(CONVOLUTIONS[network.configuration], 1):
        for i in range(1, count + 1):
            table += convolution(f"features.{position}", f"conv{stage}_{i}", bias=True)
            position += 2
        position += 2 if network.configuration == "A-LRN" and stage == 1 else 1
    return tuple(table)


def _keras(
    convolutions: Mapping[str, str],
    positions: int,
    kernel: str,
    bias: str,
    connected: Mapping[str, str] = _KERAS,
    preprocessing: str = "keras",
) -> FileLayout:
    """Names of the form "layer/array", {0} being the layer's; by ours, theirs are given."""

    def layer(ours: str, theirs: str, layout: Layout = SAME) -> Table:
        return (
            link(kernel.format(theirs), f"params/{ours}/kernel", layout),
            link(bias.format(theirs), f"params/{ours}/bias"),
        )

    backbone = tuple(one for ours, theirs in convolutions.items() for one in layer(ours, theirs))
    head = (*layer("fc6", connected["fc6"], _flat_hwc(positions)), *layer("fc7", connected["fc7"]))
    return FileLayout("", backbone, head, layer("logits", connected["logits"]), preprocessing)


def _flat_chw(positions: int) -> Layout:
    """[out, in * positions^2], flattened by channel, row and column <-> [positions, positions, in, out]."""
    return each(
        lambda array: array.reshape(len(array), -1, positions, positions).transpose(2, 3, 1, 0),
        lambda array: array.transpose(3, 2, 0, 1).reshape(array.shape[-1], -1),
    )


def _flat_hwc(positions: int) -> Layout:
    """[positions^2 * in, out], flattened by row, column and channel <-> [positions, positions, in, out]."""
    return each(
        lambda array: array.reshape(positions, positions, -1, array.shape[-1]),
        lambda array: array.reshape(-1, array.shape[-1]),
    )


def _network(module: VGG | Classifier) -> tuple[VGG, int]:
    """The backbone, and the side of the map that the head covers; of a backbone alone the published one."""
    network, head = (module.backbone, module.head) if isinstance(module, Classifier) else (module, VGGHead())
    if not isinstance(network, VGG):
        raise ValueError(f"a classifier over {type(network).__name__}, not over a VGG")
    if not isinstance(head, VGGHead):
        raise ValueError(f"a classifier of a VGG and {type(head).__name__}, whose weights no file has")
    return network, head.positions
