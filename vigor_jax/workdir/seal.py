"""What a checkpoint says of itself, under one digest: by it damage is told from a run that goes on otherwise."""

import dataclasses
import hashlib
import json
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
      shapes: of the state's arrays (`shapes`).
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


def make(record: dict[str, Any], metrics: dict[str, float] | None, state: Any, plan: dict[str, np.ndarray]) -> Seal:
    """The seal of what is about to be saved, of a state's arrays on the devices; called on every host."""
    return Seal(
        record,
        metrics,
        shapes=shapes(state),
        plan_shapes=shapes(plan),
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


def shapes(tree: Any) -> dict[str, str]:
    """`{"params/aerial/kernel": "float32 [3, 3, 64, 64]"}` of a state's arrays or of their descriptions.

    Of the carry's arrays with rows these are left out, for they depend on the number of devices.
    """
    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        shape = list(leaf.shape)
        if name.startswith("carry/") and len(shape) > 1:
            shape[0] = "rows"
        named[name] = f"{leaf.dtype} {json.dumps(shape)}"
    return named


def _digest(contents: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
