"""What a checkpoint says of itself, under one digest: by it damage is told from a run that goes on otherwise."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vigor_jax.workdir import checkpoint_files, checksum
from vigor_jax.workdir.errors import DamagedCheckpoint

_FILE_NAME = "metadata"  # in the item, as Orbax's JSON handler has it


@dataclasses.dataclass(frozen=True)
class Seal:
    """Of one checkpoint.

    Attributes:
      record: what its state was made with.
      metrics: of the evaluation at its step; None if there was none.
      shapes: of the state's arrays (`shapes`), the same on any number of devices.
      plan_shapes: of the plan's.
      checksums: of the state's arrays (`checksum.of_state`).
      plan_checksums: of the plan's (`checksum.of_array`).
    """

    record: dict[str, Any]
    metrics: dict[str, float] | None
    shapes: dict[str, str]
    plan_shapes: dict[str, str]
    checksums: dict[str, str]
    plan_checksums: dict[str, str]

    def without_padding(self, state: Any) -> Any:
        """Arrays of the state, on the host, without the rows that only made equal shares for the devices."""

        def rows(path: tuple[Any, ...], array: np.ndarray) -> np.ndarray:
            shape = json.loads(self.shapes[_name(path)].partition(" ")[2])
            return array[: shape[0]] if shape else array

        return jax.tree_util.tree_map_with_path(rows, state)


def make(
    record: dict[str, Any],
    metrics: dict[str, float] | None,
    state: Any,
    plan: dict[str, np.ndarray],
    unpadded_rows: Mapping[str, int],
) -> Seal:
    """The seal of what is about to be saved, of a state's arrays on the devices; called on every host.

    Args:
      record: what the state was made with.
      metrics: of the evaluation at its step; None if there was none.
      state: whose padding is 0.
      plan: what the batches depend on.
      unpadded_rows: of the arrays that the devices share (`state.unpadded_rows`).
    """
    return Seal(
        record,
        metrics,
        shapes=shapes(state, unpadded_rows),
        plan_shapes=shapes(plan, {}),
        checksums=checksum.of_state(state),
        plan_checksums={name: checksum.of_array(array) for name, array in plan.items()},
    )


def to_json(seal: Seal) -> dict[str, Any]:
    """For `read`."""
    contents = dataclasses.asdict(seal)
    return {"contents": contents, "digest": _digest(contents)}


def read(checkpoint: Path) -> Seal:
    """The seal in a checkpoint's folder.

    Raises:
      DamagedCheckpoint: it is not there, cannot be read, or is not what was written.
    """
    path = checkpoint / checkpoint_files.RECORD / _FILE_NAME
    try:
        stored = json.loads(path.read_bytes())
        if stored["digest"] != _digest(stored["contents"]):
            raise DamagedCheckpoint(f"{path} is not what was written")
        return Seal(**stored["contents"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpoint(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def shapes(tree: Any, unpadded_rows: Mapping[str, int]) -> dict[str, str]:
    """`{"params/aerial/kernel": "float32 [3, 3, 64, 64]"}` of a state's arrays or of their descriptions.

    Padding, of which there is more or less on other numbers of devices, is not counted: arrays of `unpadded_rows` have
    that many rows, and those of the carry, of which nobody says it, any.
    """
    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = _name(path)
        shape = list(leaf.shape)
        if name in unpadded_rows:
            shape[0] = unpadded_rows[name]
        elif name.startswith("carry/") and len(shape) > 1:
            shape[0] = "rows"
        named[name] = f"{leaf.dtype} {json.dumps(shape)}"
    return named


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _digest(contents: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
