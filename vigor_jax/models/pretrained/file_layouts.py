"""One backbone under the names of several libraries: which of them a file has is seen from the names themselves."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import numpy as np

from vigor_jax.models.classifier import Classifier
from vigor_jax.models.pretrained.conversion import Table, to_ours, to_theirs, within, without_prefix


@dataclasses.dataclass(frozen=True)
class FileLayout:
    """The names that one library gives the arrays of a backbone and of a classifier over it.

    Attributes:
      prefix: before the names of backbone and head in a classifier's file, "swin."; files of the backbone alone are
        without.
      backbone: the table of the backbone.
      head: of what stands between it and the logits; `ours` as the head's module has it.
      logits: of the logits; `theirs` in full, for they have no prefix.
    """

    prefix: str
    backbone: Table
    head: Table
    logits: Table

    def of_classifier(self, prefix: str) -> Table:
        """The table of a `Classifier`, for files with the prefix or, if that is "", for those without."""
        return (*within(self.backbone, prefix, "backbone"), *within(self.head, prefix, "head"), *self.logits)


def from_layouts(
    state: Mapping[str, np.ndarray],
    module: nn.Module,
    layouts: Mapping[str, FileLayout],
    shapes: Mapping[str, Any],
    *,
    ignored: Sequence[str],
    source: str,
    allow_partial: bool,
) -> dict[str, Any]:
    """Variables from a file of whichever layout shares most names with it.

    Args:
      state: the file's arrays by name. Where `module` is a backbone, those of head and logits are left out.
      module: the backbone, or a `Classifier` over it.
      layouts: of the family, by library.
      shapes: the tree of `conversion.variable_shapes` of `module`.
      ignored: see `conversion.to_ours`, as for the rest.
      source: what errors call the file.
      allow_partial: load what fits.

    Raises:
      WeightFileError: something is missing, unexpected, of another shape or not finite.
    """
    candidates: list[tuple[Mapping[str, np.ndarray], Table, tuple[str, ...]]] = []
    for layout in layouts.values():
        if isinstance(module, Classifier):
            candidates += [(state, layout.of_classifier(prefix), ()) for prefix in {layout.prefix: None, "": None}]
        else:
            rest = tuple(map(re.escape, _names((*layout.head, *layout.logits))))
            candidates.append((without_prefix(state, layout.prefix), layout.backbone, rest))
    state, table, rest = max(candidates, key=lambda one: sum(name in one[0] for name in _names(one[1])))
    ignored = (*ignored, *rest)
    return to_ours(state, table, shapes, source=source, ignored=ignored, allow_partial=allow_partial)[0]


def to_layout(variables: Mapping[str, Any], module: nn.Module, layout: FileLayout) -> dict[str, np.ndarray]:
    """The arrays of a file of that layout: the inverse of `from_layouts`."""
    classifier = isinstance(module, Classifier)
    return to_theirs(variables, layout.of_classifier(layout.prefix) if classifier else layout.backbone)


def _names(table: Table) -> Iterator[str]:
    return (name for one in table for name in one.theirs)
