"""EfficientNet's weights as Hugging Face transformers, timm and torchvision name them.

Not all weights of one size are of one network. The authors' (transformers' google/efficientnet-*, timm's
tf_efficientnet_*) want `EfficientNet`'s own defaults; torchvision's and timm's efficientnet_* were trained with
`padding="symmetric"` and `epsilon=1e-5`, but torchvision's B5 to B7 with 1e-3. Where the names tell, a network of the
other padding is refused; timm has the same names for both kinds. All expect preprocessing "torchvision", but "tf" those
that timm calls tf_efficientnet_*.ap_*.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from vigor_jax.models.classifier import Classifier
from vigor_jax.models.efficientnet import STAGES, EfficientNet
from vigor_jax.models.pretrained.conversion import (
    POINTWISE_AS_LINEAR,
    Table,
    batch_norm,
    convolution,
    linear,
    variable_shapes,
)
from vigor_jax.models.pretrained.file_layouts import FileLayout, MatchedFile, matched_layout, to_layout
from vigor_jax.models.pretrained.weight_file_error import WeightFileError

Library = Literal["transformers", "timm", "torchvision"]

_IGNORED = (r".*\.num_batches_tracked",)
# The end of a name that tells how the weights were trained.
_PADDINGS = {"embeddings.convolution.weight": "same", "features.0.0.weight": "symmetric"}
_EPSILONS = {"same": "epsilon=1e-3", "symmetric": "epsilon=1e-5 (B0 to B4) or 1e-3 (B5 to B7)"}


def from_torch(
    state: Mapping[str, np.ndarray],
    module: EfficientNet | Classifier,
    *,
    source: str = "the state",
    allow_partial: bool = False,
) -> dict[str, Any]:
    """Variables from the state of an EfficientNet or of a classifier over one, of any of the libraries.

    Args:
      state: arrays by name; a classifier's last convolution and logits are left out where `module` is the backbone.
      module: an EfficientNet of the file's width, depth and padding, or a classifier over one.
      source: what errors call the state.
      allow_partial: see `conversion.to_ours`.

    Raises:
      WeightFileError: something is missing, unexpected, of another shape or not finite; or the weights were trained
        with another padding.
    """
    return matched(state, module, source).load(source=source, allow_partial=allow_partial)[0]


def matched(
    state: Mapping[str, np.ndarray], module: EfficientNet | Classifier, source: str = "the state"
) -> MatchedFile:
    """The state of any of the libraries in its layout; arguments and errors as for `from_torch`."""
    _check_padding(state, _network(module).padding, source)
    shapes = variable_shapes(module, (1, 32, 32, 3))
    return matched_layout(state, module, layouts(module), shapes, ignored=_IGNORED)


def to_torch(
    variables: Mapping[str, Any], module: EfficientNet | Classifier, library: Library = "transformers"
) -> dict[str, np.ndarray]:
    """The state that a library's classes have, without counters: the inverse of `from_torch`."""
    return to_layout(variables, module, layouts(module)[library])


def layouts(module: EfficientNet | Classifier) -> dict[Library, FileLayout]:
    """By library, the names of its files."""
    repeats = _network(module).repeats
    last = len(repeats) + 1  # in torchvision's count, where the stem is 0
    return {
        "transformers": FileLayout(
            "efficientnet.",
            _transformers(repeats),
            _normalised("encoder.top_conv", "encoder.top_bn", "head_conv", "head_bn"),
            linear("classifier", "logits"),
        ),
        "timm": FileLayout(
            "",
            _timm(repeats),
            _normalised("conv_head", "bn2", "head_conv", "head_bn"),
            linear("classifier", "logits"),
        ),
        "torchvision": FileLayout(
            "",
            _torchvision(repeats),
            _normalised(f"features.{last}.0", f"features.{last}.1", "head_conv", "head_bn"),
            linear("classifier.1", "logits"),
        ),
    }


def _transformers(repeats: tuple[int, ...]) -> Table:
    table = [*_normalised("embeddings.convolution", "embeddings.batchnorm", "stem_conv", "stem_bn")]
    number = 0  # blocks are counted through there
    for stage, count in enumerate(repeats):
        for block in range(count):
            theirs, ours = f"encoder.blocks.{number}", f"stage{stage}_block{block}"
            number += 1
            if STAGES[stage].expansion != 1:
                expansion = f"{theirs}.expansion"
                table += _expansion(f"{expansion}.expand_conv", f"{expansion}.expand_bn", ours)
            depthwise = f"{theirs}.depthwise_conv"
            table += _depthwise(f"{depthwise}.depthwise_conv", f"{depthwise}.depthwise_norm", ours)
            table += _excitation(f"{theirs}.squeeze_excite.reduce", f"{theirs}.squeeze_excite.expand", ours)
            table += _projection(f"{theirs}.projection.project_conv", f"{theirs}.projection.project_bn", ours)
    return tuple(table)


def _timm(repeats: tuple[int, ...]) -> Table:
    table = [*_normalised("conv_stem", "bn1", "stem_conv", "stem_bn")]
    for stage, count in enumerate(repeats):
        for block in range(count):
            theirs, ours = f"blocks.{stage}.{block}", f"stage{stage}_block{block}"
            table += _excitation(f"{theirs}.se.conv_reduce", f"{theirs}.se.conv_expand", ours)
            # Pointwise convolutions and norms are named by their place in the block.
            if STAGES[stage].expansion != 1:
                table += _expansion(f"{theirs}.conv_pw", f"{theirs}.bn1", ours)
                table += _depthwise(f"{theirs}.conv_dw", f"{theirs}.bn2", ours)
                table += _projection(f"{theirs}.conv_pwl", f"{theirs}.bn3", ours)
            else:
                table += _depthwise(f"{theirs}.conv_dw", f"{theirs}.bn1", ours)
                table += _projection(f"{theirs}.conv_pw", f"{theirs}.bn2", ours)
    return tuple(table)


def _torchvision(repeats: tuple[int, ...]) -> Table:
    table = [*_normalised("features.0.0", "features.0.1", "stem_conv", "stem_bn")]
    for stage, count in enumerate(repeats):
        for block in range(count):
            theirs, ours = f"features.{stage + 1}.{block}.block", f"stage{stage}_block{block}"
            at = 0
            if STAGES[stage].expansion != 1:
                table += _expansion(f"{theirs}.0.0", f"{theirs}.0.1", ours)
                at = 1
            table += _depthwise(f"{theirs}.{at}.0", f"{theirs}.{at}.1", ours)
            table += _excitation(f"{theirs}.{at + 1}.fc1", f"{theirs}.{at + 1}.fc2", ours)
            table += _projection(f"{theirs}.{at + 2}.0", f"{theirs}.{at + 2}.1", ours)
    return tuple(table)


def _expansion(conv: str, bn: str, ours: str) -> Table:
    return _normalised(conv, bn, f"{ours}/expand_conv", f"{ours}/expand_bn")


def _depthwise(conv: str, bn: str, ours: str) -> Table:
    return _normalised(conv, bn, f"{ours}/depthwise", f"{ours}/depthwise_bn")


def _projection(conv: str, bn: str, ours: str) -> Table:
    return _normalised(conv, bn, f"{ours}/project_conv", f"{ours}/project_bn")


def _excitation(squeeze: str, excite: str, ours: str) -> Table:
    return (
        *convolution(squeeze, f"{ours}/squeeze", bias=True, layout=POINTWISE_AS_LINEAR),
        *convolution(excite, f"{ours}/excite", bias=True, layout=POINTWISE_AS_LINEAR),
    )


def _normalised(their_conv: str, their_bn: str, conv: str, bn: str) -> Table:
    return (*convolution(their_conv, conv, bias=False), *batch_norm(their_bn, bn))


def _check_padding(state: Mapping[str, np.ndarray], padding: str, source: str) -> None:
    for sign, trained in _PADDINGS.items():
        if trained != padding and any(name.endswith(sign) for name in state):
            raise WeightFileError(
                f"{source}: the weights, to judge by the name {sign}, were trained with padding={trained!r}; with "
                f"padding={padding!r}, which this network has, they give other features. Make it with "
                f"padding={trained!r} and, in backbone and head, {_EPSILONS[trained]}."
            )


def _network(module: EfficientNet | Classifier) -> EfficientNet:
    network = module.backbone if isinstance(module, Classifier) else module
    if not isinstance(network, EfficientNet):
        raise ValueError(f"a classifier over {type(network).__name__}, not over an EfficientNet")
    return network
