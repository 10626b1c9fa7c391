"""Weights under our own names: the path of each variable, "params/backbone/conv1_1/kernel", in our own layout.

What a file has of networks that are ours: `numpy.savez(path, **to_own_names(variables))`, or the same as .safetensors.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn
from flax import traverse_util

from vigor_jax.models.classifier import Classifier
from vigor_jax.models.pretrained.conversion import link
from vigor_jax.models.pretrained.file_layouts import MatchedFile

_ABOVE = (r"[^/]+/head/.*", r"[^/]+/logits/.*")


def has_own_names(state: Mapping[str, np.ndarray]) -> bool:
    """Whether a file's names are paths of ours; no other library has a slash after "params"."""
    return any(name.startswith("params/") for name in state)


def matched(state: Mapping[str, np.ndarray], module: nn.Module, shapes: Mapping[str, Any]) -> MatchedFile:
    """A file of our names: of `module`, or of the classifier over it, whose head and logits are left out.

    Args:
      state: arrays by path.
      module: a backbone, or a `Classifier` over one.
      shapes: the tree of `conversion.variable_shapes` of `module`.
    """
    ignored: tuple[str, ...] = ()
    if not isinstance(module, Classifier):
        state, ignored = {name.replace("/backbone/", "/", 1): array for name, array in state.items()}, _ABOVE
    table = tuple(link(path, path) for path in traverse_util.flatten_dict(shapes, sep="/"))
    return MatchedFile(state, table, shapes, ignored)


def to_own_names(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a file from variables: the inverse of `matched(...).load`."""
    return {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(variables, sep="/").items()}
