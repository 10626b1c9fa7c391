"""ViT's weights as DINOv2's authors, Hugging Face transformers, timm and torchvision name them.

DINOv2's expect pixels with ImageNet's statistics (preprocessing "torchvision"), as torchvision's ViT does; the plain
ViT of transformers and timm expects them in [-1, 1] ("tf").
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from vigor_jax.models.classifier import Classifier
from vigor_jax.models.pretrained.attention_block import TIMM, TORCHVISION_MLP, BlockNames, block_table
from vigor_jax.models.pretrained.conversion import convolution, layer_norm, linear, link, variable_shapes
from vigor_jax.models.pretrained.file_layouts import FileLayout, MatchedFile, matched_layout, to_layout
from vigor_jax.models.vit import ViT

Library = Literal["transformers", "timm", "authors", "torchvision"]


@dataclasses.dataclass(frozen=True)
class _Names:
    """What a library calls the arrays outside the blocks, and the blocks, "{}" being their number from 0."""

    prefix: str
    class_token: str
    positions: str
    patches: str
    registers: str | None
    block: str
    parts: BlockNames
    norm: str
    logits: str


_DINO = _Names(
    prefix="dinov2.",
    class_token="embeddings.cls_token",
    positions="embeddings.position_embeddings",
    patches="embeddings.patch_embeddings.projection",
    registers="embeddings.register_tokens",
    block="encoder.layer.{}.",
    parts=BlockNames(
        norms=("norm1", "norm2"),
        qkv=("attention.attention.query.{}", "attention.attention.key.{}", "attention.attention.value.{}"),
        projection="attention.output.dense",
        perceptron=("mlp.fc1", "mlp.fc2"),
        scales=("layer_scale1.lambda1", "layer_scale2.lambda1"),
    ),
    norm="layernorm",
    logits="classifier",
)
_PLAIN = dataclasses.replace(
    _DINO,
    prefix="vit.",
    registers=None,
    parts=BlockNames(
        norms=("layernorm_before", "layernorm_after"),
        qkv=_DINO.parts.qkv,
        projection="attention.output.dense",
        perceptron=("intermediate.dense", "output.dense"),
    ),
)
_TIMM = _Names(
    prefix="",
    class_token="cls_token",
    positions="pos_embed",
    patches="patch_embed.proj",
    registers=None,  # with them, timm has other positions: the class token's lies in the token
    block="blocks.{}.",
    parts=TIMM,
    norm="norm",
    logits="head",
)
_AUTHORS = dataclasses.replace(_TIMM, prefix="backbone.", registers="register_tokens", logits="linear_head")
_TORCHVISION = _Names(
    prefix="",
    class_token="class_token",
    positions="encoder.pos_embedding",
    patches="conv_proj",
    registers=None,
    block="encoder.layers.encoder_layer_{}.",
    parts=BlockNames(
        norms=("ln_1", "ln_2"),
        qkv=("self_attention.in_proj_{}",),
        projection="self_attention.out_proj",
        perceptron=TORCHVISION_MLP,
    ),
    norm="encoder.ln",
    logits="heads.head",
)
# The gated perceptron's first layer and last; timm keeps the names of the other.
_GATED = {"transformers": ("mlp.weights_in", "mlp.weights_out"), "authors": ("mlp.w12", "mlp.w3")}
# Of a pre-training that hides patches; and transformers' extra layer behind the class token, of another task.
_IGNORED = (r"(.*\.)?mask_token", r"(.*\.)?pooler\.dense\.(weight|bias)")


def from_torch(
    state: Mapping[str, np.ndarray],
    module: ViT | Classifier,
    *,
    source: str = "the state",
    allow_partial: bool = False,
) -> dict[str, Any]:
    """Variables from the state of a ViT or of a classifier over one, of any of the libraries.

    Args:
      state: arrays by name; what a classifier's file has beyond the backbone is left out where `module` is that.
      module: with as many positions as the file has.
      source: what errors call the state.
      allow_partial: see `conversion.to_ours`; a backbone's file, as DINOv2's are, fills a classifier but for the
        logits.

    Raises:
      WeightFileError: something is missing, unexpected, of another shape or not finite.
    """
    return matched(state, module).load(source=source, allow_partial=allow_partial)[0]


def matched(state: Mapping[str, np.ndarray], module: ViT | Classifier) -> MatchedFile:
    """The state of any of the libraries in its layout; arguments and errors as for `from_torch`."""
    # torchvision's older files.
    state = {
        name.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3."): array
        for name, array in state.items()
    }
    patch = _backbone(module).patch
    shapes = variable_shapes(module, (1, patch, patch, 3))
    return matched_layout(state, module, layouts(module), shapes, ignored=_IGNORED)


def to_torch(
    variables: Mapping[str, Any], module: ViT | Classifier, library: Library = "transformers"
) -> dict[str, np.ndarray]:
    """The state that a library's classes have: the inverse of `from_torch`, without what it ignores.

    Raises:
      ValueError: the library has no model of this kind.
    """
    known = layouts(module)
    if library not in known:
        raise ValueError(f"{library} has no ViT of this kind. Those that have: {', '.join(known)}.")
    return to_layout(variables, module, known[library])


def layouts(module: ViT | Classifier) -> dict[Library, FileLayout]:
    """The names of files, by library, of those that have a model of this kind."""
    vit = _backbone(module)
    prefix = "dinov2_with_registers." if vit.registers else _DINO.prefix
    names: dict[Library, _Names] = {
        "transformers": dataclasses.replace(_DINO, prefix=prefix) if vit.layer_scale else _PLAIN,
        "timm": _TIMM,
        "authors": _AUTHORS,
        "torchvision": _TORCHVISION,
    }
    return {
        library: _layout(vit, one, library)
        for library, one in names.items()
        if (one.registers or not vit.registers) and (one.parts.scales or not vit.layer_scale)
    }


def _layout(vit: ViT, names: _Names, library: Library) -> FileLayout:
    parts = names.parts
    if vit.gated:
        parts = dataclasses.replace(parts, perceptron=_GATED.get(library, parts.perceptron))
    table = [
        link(names.class_token, "params/class_token"),
        link(names.positions, "params/position_embedding"),
        *convolution(names.patches, "patch_embedding", bias=True),
        *layer_norm(names.norm, "norm"),
    ]
    if vit.registers:
        assert names.registers is not None
        table.append(link(names.registers, "params/register_tokens"))
    for number in range(vit.depth):
        table += block_table(
            parts,
            names.block.format(number),
            f"block{number + 1}",
            attention="attention",
            layer_scale=vit.layer_scale,
            gated=vit.gated,
        )
    # Of the plain ones, those of torchvision alone.
    preprocessing = "torchvision" if library == "torchvision" else None
    return FileLayout(names.prefix, tuple(table), (), linear(names.logits, "logits"), preprocessing)


def _backbone(module: ViT | Classifier) -> ViT:
    backbone = module.backbone if isinstance(module, Classifier) else module
    if not isinstance(backbone, ViT):
        raise ValueError(f"a classifier over {type(backbone).__name__}, not over a ViT")
    return backbone
