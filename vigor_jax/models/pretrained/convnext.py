"""ConvNeXt's weights as Hugging Face transformers, timm, torchvision and the authors name them.

All expect preprocessing "torchvision".
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from vigor_jax.models.classifier import Classifier
from vigor_jax.models.convnext import ConvNeXt
from vigor_jax.models.pretrained.conversion import (
    SAME,
    Layout,
    Table,
    convolution,
    each,
    layer_norm,
    linear,
    link,
    variable_shapes,
)
from vigor_jax.models.pretrained.file_layouts import FileLayout, MatchedFile, matched_layout, to_layout

Library = Literal["transformers", "timm", "torchvision", "authors"]

_LAYER_SCALE_OF_MAPS = each(lambda array: array[:, 0, 0], lambda array: array[:, None, None])


def from_torch(
    state: Mapping[str, np.ndarray],
    module: ConvNeXt | Classifier,
    *,
    source: str = "the state",
    allow_partial: bool = False,
) -> dict[str, Any]:
    """Variables from the state of a ConvNeXt or of a classifier over one, of any of the libraries.

    Args:
      state: arrays by name; a classifier's norm and logits are left out where `module` is the backbone.
      module: a ConvNeXt of the file's depths and channels, or a classifier over one.
      source: what errors call the state.
      allow_partial: see `conversion.to_ours`.

    Raises:
      WeightFileError: something is missing, unexpected, of another shape or not finite.
    """
    return matched(state, module).load(source=source, allow_partial=allow_partial)[0]


def matched(state: Mapping[str, np.ndarray], module: ConvNeXt | Classifier) -> MatchedFile:
    """The state of any of the libraries in its layout; arguments and errors as for `from_torch`."""
    shapes = variable_shapes(module, (1, 32, 32, 3))
    return matched_layout(state, module, layouts(module), shapes)


def to_torch(
    variables: Mapping[str, Any], module: ConvNeXt | Classifier, library: Library = "transformers"
) -> dict[str, np.ndarray]:
    """The state that a library's classes have: the inverse of `from_torch`."""
    return to_layout(variables, module, layouts(module)[library])


def layouts(module: ConvNeXt | Classifier) -> dict[Library, FileLayout]:
    """By library, the names of its files."""
    network = module.backbone if isinstance(module, Classifier) else module
    if not isinstance(network, ConvNeXt):
        raise ValueError(f"a classifier over {type(network).__name__}, not over a ConvNeXt")
    depths = network.depths
    transformers = _table(
        depths,
        stem=("embeddings.patch_embeddings", "embeddings.layernorm"),
        downsample="encoder.stages.{stage}.downsampling_layer",
        block="encoder.stages.{stage}.layers.{block}",
        parts=("dwconv", "layernorm", "pwconv1", "pwconv2", "layer_scale_parameter"),
    )
    timm = _table(
        depths,
        stem=("stem.0", "stem.1"),
        downsample="stages.{stage}.downsample",
        block="stages.{stage}.blocks.{block}",
        parts=("conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma"),
    )
    # Stages and what lies before each are counted together there.
    torchvision = _table(
        depths,
        stem=("features.0.0", "features.0.1"),
        downsample="features.{before}",
        block="features.{at}.{block}",
        parts=("block.0", "block.2", "block.3", "block.5", "layer_scale"),
        layer_scale=_LAYER_SCALE_OF_MAPS,
    )
    authors = _table(
        depths,
        stem=("downsample_layers.0.0", "downsample_layers.0.1"),
        downsample="downsample_layers.{stage}",
        block="stages.{stage}.{block}",
        parts=("dwconv", "norm", "pwconv1", "pwconv2", "gamma"),
    )
    return {
        "transformers": _layout("convnext.", transformers, "layernorm", "classifier"),
        "timm": _layout("", timm, "head.norm", "head.fc"),
        "torchvision": _layout("", torchvision, "classifier.0", "classifier.2"),
        "authors": _layout("", authors, "norm", "head"),
    }


def _layout(prefix: str, backbone: Table, norm: str, logits: str) -> FileLayout:
    return FileLayout(prefix, backbone, layer_norm(norm, "norm"), linear(logits, "logits"))


def _table(
    depths: tuple[int, ...],
    stem: tuple[str, str],
    downsample: str,
    block: str,
    parts: tuple[str, str, str, str, str],
    layer_scale: Layout = SAME,
) -> Table:
    """The backbone's links.

    Args:
      depths: blocks of each stage.
      stem: a library's names of its convolution and its norm.
      downsample: of what lies between stages, a norm and a convolution, which are 0 and 1 in every library.
      block: of a block of a stage.
      parts: of a block's five layers, within it and in their order.
      layer_scale: of the last of them.
    """
    table = [*convolution(stem[0], "stem_conv", bias=True), *layer_norm(stem[1], "stem_norm")]
    depthwise, norm, first, second, scale = parts
    for stage, depth in enumerate(depths):
        places = {"stage": stage, "before": 2 * stage, "at": 2 * stage + 1}
        if stage > 0:
            theirs = downsample.format(**places)
            table += layer_norm(f"{theirs}.0", f"downsample{stage}_norm")
            table += convolution(f"{theirs}.1", f"downsample{stage}_conv", bias=True)
        for i in range(depth):
            theirs, ours = block.format(**places, block=i), f"stage{stage}_block{i}"
            table += convolution(f"{theirs}.{depthwise}", f"{ours}/depthwise", bias=True)
            table += layer_norm(f"{theirs}.{norm}", f"{ours}/norm")
            table += linear(f"{theirs}.{first}", f"{ours}/pwconv1")
            table += linear(f"{theirs}.{second}", f"{ours}/pwconv2")
            table.append(link(f"{theirs}.{scale}", f"params/{ours}/layer_scale", layer_scale))
    return tuple(table)
