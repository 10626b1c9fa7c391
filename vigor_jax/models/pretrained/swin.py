"""Swin's weights as Hugging Face transformers, timm, its authors and torchvision name them.

All expect pixels with ImageNet's statistics (preprocessing "torchvision").
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from vigor_jax.models.classifier import Classifier
from vigor_jax.models.pretrained.attention_block import TIMM, TORCHVISION_MLP, BlockNames, block_table
from vigor_jax.models.pretrained.conversion import Table, convolution, layer_norm, linear, link, variable_shapes
from vigor_jax.models.pretrained.file_layouts import FileLayout, MatchedFile, matched_layout, to_layout
from vigor_jax.models.swin import Swin

Library = Literal["transformers", "timm", "authors", "torchvision"]

_TRANSFORMERS = BlockNames(
    norms=("layernorm_before", "layernorm_after"),
    qkv=("attention.self.query.{}", "attention.self.key.{}", "attention.self.value.{}"),
    projection="attention.output.dense",
    perceptron=("intermediate.dense", "output.dense"),
)
_TORCHVISION = BlockNames(TIMM.norms, TIMM.qkv, TIMM.projection, TORCHVISION_MLP)
# Computed from the window, and of a pre-training that hides patches.
_IGNORED = (r".*\.relative_position_index", r".*\.attn_mask", r"(.*\.)?mask_token")


def from_torch(
    state: Mapping[str, np.ndarray],
    module: Swin | Classifier,
    *,
    source: str = "the state",
    allow_partial: bool = False,
) -> dict[str, Any]:
    """Variables from the state of a Swin or of a classifier over one, of any of the libraries.

    Args:
      state: arrays by name; what a classifier's file has beyond the backbone is left out where `module` is that.
      module: of the file's window: the biases of another have no place.
      source: what errors call the state.
      allow_partial: see `conversion.to_ours`; a backbone's file fills a classifier but for head and logits.

    Raises:
      WeightFileError: something is missing, unexpected, of another shape or not finite.
    """
    return matched(state, module).load(source=source, allow_partial=allow_partial)[0]


def matched(state: Mapping[str, np.ndarray], module: Swin | Classifier) -> MatchedFile:
    """The state of any of the libraries in its layout; arguments and errors as for `from_torch`."""
    shapes = variable_shapes(module, (1, 32, 32, 3))
    return matched_layout(state, module, layouts(module), shapes, ignored=_IGNORED)


def to_torch(
    variables: Mapping[str, Any], module: Swin | Classifier, library: Library = "transformers"
) -> dict[str, np.ndarray]:
    """The state that a library's classes have, without what they compute themselves: the inverse of `from_torch`."""
    return to_layout(variables, module, layouts(module)[library])


def layouts(module: Swin | Classifier) -> dict[Library, FileLayout]:
    """By library, the names of its files."""
    swin = module.backbone if isinstance(module, Classifier) else module
    if not isinstance(swin, Swin):
        raise ValueError(f"a classifier over {type(swin).__name__}, not over a Swin")
    return {
        "transformers": FileLayout(
            prefix="swin.",
            backbone=_backbone(
                swin,
                _TRANSFORMERS,
                ("embeddings.patch_embeddings.projection", "embeddings.norm"),
                block=lambda stage, number: f"encoder.layers.{stage}.blocks.{number}.",
                bias="attention.self.relative_position_bias_table",
                merging=lambda stage: f"encoder.layers.{stage}.downsample.",
            ),
            head=layer_norm("layernorm", "norm"),
            logits=linear("classifier", "logits"),
        ),
        # timm began to merge at the beginning of a stage instead of the end in version 0.9.
        "timm": _like_timm(swin, merges_before=1, logits="head.fc"),
        "authors": _like_timm(swin, merges_before=0, logits="head"),
        "torchvision": FileLayout(
            prefix="",
            backbone=_backbone(
                swin,
                _TORCHVISION,
                ("features.0.0", "features.0.2"),
                block=lambda stage, number: f"features.{2 * stage + 1}.{number}.",
                bias="attn.relative_position_bias_table",
                merging=lambda stage: f"features.{2 * stage + 2}.",
            ),
            head=layer_norm("norm", "norm"),
            logits=linear("head", "logits"),
        ),
    }


def _like_timm(swin: Swin, *, merges_before: int, logits: str) -> FileLayout:
    backbone = _backbone(
        swin,
        TIMM,
        ("patch_embed.proj", "patch_embed.norm"),
        block=lambda stage, number: f"layers.{stage}.blocks.{number}.",
        bias="attn.relative_position_bias_table",
        merging=lambda stage: f"layers.{stage + merges_before}.downsample.",
    )
    return FileLayout("", backbone, layer_norm("norm", "norm"), linear(logits, "logits"))


def _backbone(
    swin: Swin,
    names: BlockNames,
    patches: tuple[str, str],
    *,
    block: Callable[[int, int], str],
    bias: str,
    merging: Callable[[int], str],
) -> Table:
    """Stages and blocks count from 0 there and from 1 here."""
    projection, norm = patches
    table = [
        *convolution(projection, "patch_embedding/projection", bias=True),
        *layer_norm(norm, "patch_embedding/norm"),
    ]
    for stage, depth in enumerate(swin.depths):
        for number in range(depth):
            theirs, ours = block(stage, number), f"body/stage{stage + 1}_block{number + 1}"
            table += block_table(names, theirs, ours, attention="attention/attention")
            table.append(link(theirs + bias, f"params/{ours}/attention/relative_position_bias"))
        if stage + 1 < len(swin.depths):
            ours = f"body/merging{stage + 1}"
            table += layer_norm(f"{merging(stage)}norm", f"{ours}/norm")
            table += linear(f"{merging(stage)}reduction", f"{ours}/reduction", bias=False)
    return tuple(table)
