"""MobileNet's weights as Hugging Face transformers and as Keras name them.

Both descend from the authors' TensorFlow checkpoints. Those have 1,001 classes, the first of them "background", and so
have the files of Hugging Face; Keras has cut the first off. All expect pixels in [-1, 1] (preprocessing "tf").
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vigor_jax.models.classifier import Classifier
from vigor_jax.models.mobilenet import MobileNet
from vigor_jax.models.pretrained.conversion import (
    CONVOLUTION,
    KERAS_DEPTHWISE,
    SAME,
    Layout,
    Table,
    batch_norm,
    convolution,
    each,
    linear,
    link,
    to_theirs,
    variable_shapes,
    within,
    without_prefix,
)
from vigor_jax.models.pretrained.file_layouts import MatchedFile

_TORCH_BACKBONE = "mobilenet_v1."
_TORCH_IGNORED = (r".*\.num_batches_tracked",)
# A 1x1 convolution there, a dense layer here: [1, 1, in, out] <-> [in, out].
_KERAS_LOGITS = each(lambda array: array[0, 0], lambda array: array[None, None])


def from_torch(
    state: Mapping[str, np.ndarray],
    module: MobileNet | Classifier,
    *,
    source: str = "the state",
    allow_partial: bool = False,
) -> dict[str, Any]:
    """Variables from a state of transformers' MobileNetV1Model or MobileNetV1ForImageClassification.

    Args:
      state: arrays by name; the logits of a classifier's file are left out where `module` is the backbone.
      module: a MobileNet of separable convolutions and all blocks, or a classifier over one.
      source: what errors call the state.
      allow_partial: see `conversion.to_ours`.

    Raises:
      WeightFileError: something is missing, unexpected, of another shape or not finite.
      ValueError: a MobileNet of the kind that nobody publishes weights of.
    """
    return _matched_torch(state, module).load(source=source, allow_partial=allow_partial)[0]


def to_torch(variables: Mapping[str, Any], module: MobileNet | Classifier) -> dict[str, np.ndarray]:
    """The state of transformers' classes from variables: the inverse of `from_torch`, without counters."""
    return to_theirs(variables, torch_table(module))


def from_keras(
    state: Mapping[str, np.ndarray],
    module: MobileNet | Classifier,
    *,
    source: str = "the state",
    allow_partial: bool = False,
) -> dict[str, Any]:
    """Variables from the arrays of keras.applications.MobileNet, by "layer/array": "conv_dw_1/depthwise_kernel".

    Arguments and errors as for `from_torch`. Keras pads as here where sides are even at every halving, which are
    those divisible by 32.
    """
    return _matched_keras(state, module).load(source=source, allow_partial=allow_partial)[0]


def to_keras(variables: Mapping[str, Any], module: MobileNet | Classifier) -> dict[str, np.ndarray]:
    """The arrays of keras.applications.MobileNet from variables: the inverse of `from_keras`."""
    return to_theirs(variables, keras_table(module))


def matched(state: Mapping[str, np.ndarray], module: MobileNet | Classifier) -> MatchedFile:
    """The state of whichever of the two libraries it has more names of; arguments and errors as for `from_torch`."""
    files = (_matched_torch(state, module), _matched_keras(state, module))
    return max(files, key=lambda file: sum(name in file.state for one in file.table for name in one.theirs))


def _matched_torch(state: Mapping[str, np.ndarray], module: MobileNet | Classifier) -> MatchedFile:
    if isinstance(module, Classifier):
        ignored = _TORCH_IGNORED
    else:
        state, ignored = without_prefix(state, _TORCH_BACKBONE), (*_TORCH_IGNORED, r"classifier\..*")
    return MatchedFile(state, torch_table(module), variable_shapes(module, (1, 32, 32, 3)), ignored)


def _matched_keras(state: Mapping[str, np.ndarray], module: MobileNet | Classifier) -> MatchedFile:
    ignored = () if isinstance(module, Classifier) else (r"conv_preds/.*",)
    return MatchedFile(state, keras_table(module), variable_shapes(module, (1, 32, 32, 3)), ignored)


def torch_table(module: MobileNet | Classifier) -> Table:
    """Names of transformers to ours. Its layers count depthwise and pointwise ones in turn."""
    if isinstance(module, Classifier):
        backbone = within(torch_table(_backbone(module)), _TORCH_BACKBONE, "backbone")
        return (*backbone, *linear("classifier", "logits"))
    names = [("conv_stem", "conv")]
    for number, _, _ in _published(module).blocks:
        names.append((f"layer.{2 * number - 2}", f"block_{number}_depthwise"))
        names.append((f"layer.{2 * number - 1}", f"block_{number}_pointwise"))
    return tuple(
        one
        for theirs, ours in names
        for one in (
            *convolution(f"{theirs}.convolution", ours, bias=False, layout=CONVOLUTION),
            *batch_norm(f"{theirs}.normalization", f"{ours}_norm"),
        )
    )


def keras_table(module: MobileNet | Classifier) -> Table:
    """Names of Keras, "layer/array", to ours."""
    if isinstance(module, Classifier):
        backbone = within(keras_table(_backbone(module)), ours="backbone")
        kernel = link("conv_preds/kernel", "params/logits/kernel", _KERAS_LOGITS)
        return (*backbone, kernel, link("conv_preds/bias", "params/logits/bias"))
    table = [*_keras_layer("conv1", "kernel", "conv", SAME)]
    for number, _, _ in _published(module).blocks:
        table += _keras_layer(f"conv_dw_{number}", "depthwise_kernel", f"block_{number}_depthwise", KERAS_DEPTHWISE)
        table += _keras_layer(f"conv_pw_{number}", "kernel", f"block_{number}_pointwise", SAME)
    return tuple(table)


def _keras_layer(theirs: str, kernel: str, ours: str, layout: Layout) -> Table:
    return (
        link(f"{theirs}/{kernel}", f"params/{ours}/kernel", layout),
        link(f"{theirs}_bn/gamma", f"params/{ours}_norm/scale"),
        link(f"{theirs}_bn/beta", f"params/{ours}_norm/bias"),
        link(f"{theirs}_bn/moving_mean", f"batch_stats/{ours}_norm/mean"),
        link(f"{theirs}_bn/moving_variance", f"batch_stats/{ours}_norm/var"),
    )


def _backbone(module: Classifier) -> MobileNet:
    if not isinstance(module.backbone, MobileNet):
        raise ValueError(f"a classifier over {type(module.backbone).__name__}, not over a MobileNet")
    return module.backbone


def _published(module: MobileNet) -> MobileNet:
    if not module.separable or module.shallow:
        raise ValueError("there are no published weights of the plain-convolution and the shallow MobileNet")
    return module
