"""Flax's parameters and gradients in the peer's tensors."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from step_peer.cross_view import CrossViewModel


def load(model: CrossViewModel, params: dict[str, Any]) -> None:
    """Copies Flax's parameters into the model."""
    with torch.no_grad():
        for (group, *names), tensor in _in_flax_layout({name: p.detach() for name, p in model.named_parameters()}):
            leaf = params[group]
            for name in names:
                leaf = leaf[name]
            tensor.copy_(torch.from_numpy(np.array(leaf)))


def gradients(model: CrossViewModel) -> dict[str, Any]:
    """The model's gradients in the tree of Flax's parameters."""
    tree: dict[str, Any] = {}
    for names, tensor in _in_flax_layout({name: p.grad for name, p in model.named_parameters()}):
        node = tree
        for name in names[:-1]:
            node = node.setdefault(name, {})
        node[names[-1]] = tensor.cpu().numpy()
    return tree


def _in_flax_layout(tensors: dict[str, torch.Tensor]) -> Iterator[tuple[tuple[str, ...], torch.Tensor]]:
    """Views of parameters or of their gradients, each with its path in Flax's tree."""
    for name, tensor in tensors.items():
        group, *inner, last = name.split(".")
        kind = {"weight": "kernel"}.get(last, last)
        if group.endswith("_tower"):
            yield (group, inner[-1], kind), tensor.permute(2, 3, 1, 0) if kind == "kernel" else tensor
        elif group.endswith("_aggregation"):
            yield (group, kind), tensor
        elif inner == ["linear_in"] and kind == "kernel":
            aerial, ground = tensor.T.chunk(2)
            yield (group, "aerial_in", kind), aerial
            yield (group, "ground_in", kind), ground
        else:
            layer = {"linear_in": "ground_in"}.get(inner[0], inner[0])
            yield (group, layer, kind), tensor.T if kind == "kernel" else tensor
