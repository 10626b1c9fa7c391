"""One backbone under the names of several libraries: which of them a file has is seen from the names themselves."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import numpy as np

from vigor_jax.models.classifier import Classifier
from vigor_jax.models.pretrained.conversion import Table, to_ours, to_theirs, within, without_prefix
from vigor_jax.models.pretrained.load_report import Report


@dataclasses.dataclass(frozen=True)
class FileLayout:
    """The names that one library gives the arrays of a backbone and of a classifier over it.

    Attributes:
      prefix: before the names of backbone and head in a classifier's file, "swin."; files of the backbone alone are
        without.
      backbone: the table of the backbone.
      head: of what stands between it and the logits; `ours` as the head's module has it.
      logits: of the logits; `theirs` in full, for they have no prefix.
      preprocessing: that the library's weights expect, where it is another than the registry's.
    """

    prefix: str
    backbone: Table
    head: Table
    logits: Table
    preprocessing: str | None = None

    def of_classifier(self, prefix: str) -> Table:
        """The table of a `Classifier`, for files with the prefix or, if that is "", for those without."""
        return (*within(self.backbone, prefix, "backbone"), *within(self.head, prefix, "head"), *self.logits)


@dataclasses.dataclass(frozen=True)
class MatchedFile:
    """The arrays of a file, and the table by which they are the variables of a module.

    Attributes:
      state: arrays by name.
      table: of those names.
      shapes: the tree of `conversion.variable_shapes` of the module.
      ignored: see `conversion.to_ours`.
      preprocessing: that the weights expect, where it is another than the registry's.
    """

    state: Mapping[str, np.ndarray]
    table: Table
    shapes: Mapping[str, Any]
    ignored: tuple[str, ...] = ()
    preprocessing: str | None = None

    def load(self, *, source: str = "the state", allow_partial: bool = False) -> tuple[dict[str, Any], Report]:
        """The variables, and what became of every name; arguments and errors as for `conversion.to_ours`."""
        return to_ours(
            self.state, self.table, self.shapes, source=source, ignored=self.ignored, allow_partial=allow_partial
        )


def matched_layout(
    state: Mapping[str, np.ndarray],
    module: nn.Module,
    layouts: Mapping[str, FileLayout],
    shapes: Mapping[str, Any],
    *,
    ignored: Sequence[str] = (),
) -> MatchedFile:
    """A file in whichever layout shares most names with it.

    Args:
      state: the file's arrays by name. Where `module` is a backbone, those of head and logits are left out.
      module: the backbone, or a `Classifier` over it.
      layouts: of the family, by library.
      shapes: the tree of `conversion.variable_shapes` of `module`.
      ignored: see `conversion.to_ours`, as for the rest.
    """
    candidates: list[tuple[MatchedFile, Table]] = []
    for layout in layouts.values():
        if isinstance(module, Classifier):
            for prefix in {layout.prefix: None, "": None}:
                table = layout.of_classifier(prefix)
                candidates.append((MatchedFile(state, table, shapes, tuple(ignored), layout.preprocessing), table))
        else:
            above = (*layout.head, *layout.logits)
            bare = without_prefix(state, layout.prefix)
            unused = (*ignored, *map(re.escape, _names(above)))
            file = MatchedFile(bare, layout.backbone, shapes, unused, layout.preprocessing)
            candidates.append((file, (*layout.backbone, *above)))
    return max(candidates, key=lambda one: sum(name in one[0].state for name in _names(one[1])))[0]


def to_layout(variables: Mapping[str, Any], module: nn.Module, layout: FileLayout) -> dict[str, np.ndarray]:
    """The arrays of a file of that layout: the inverse of `matched_layout(...).load`."""
    classifier = isinstance(module, Classifier)
    return to_theirs(variables, layout.of_classifier(layout.prefix) if classifier else layout.backbone)


def _names(table: Table) -> Iterator[str]:
    return (name for one in table for name in one.theirs)
