"""What a finished run has learnt, read from its workdir alone: without its data, task or optimiser."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from vigor_jax.config import Config
from vigor_jax.workdir import checkpoint_files, checksum, seal, summary
from vigor_jax.workdir.errors import DamagedCheckpoint, NoFinishedRun
from vigor_jax.workdir.provenance import Provenance
from vigor_jax.workdir.seal import Seal

ParseStored = Callable[[Mapping[str, Any], Path], Config]

_VARIABLES = ("params", "model_state")  # of all that a checkpoint's state holds


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run as one of its checkpoints has it; by the last one the metrics of its summary are.

    Attributes:
      workdir: of the run.
      step: updates done.
      epoch: counted from 1, in which or after which that is.
      provenance: what the checkpoint was made with.
      variables: Flax collections, "params" and the model's own; on the host.
    """

    workdir: Path
    config: Config
    step: int
    epoch: int
    provenance: Provenance
    variables: dict[str, Any]

    @property
    def resolved(self) -> dict[str, Any]:
        """What its task resolved (`Task.resolved`); empty of a run from before this was stored."""
        return self.provenance.get("resolved", {})


def digest(variables: dict[str, Any]) -> str:
    """16 hexadecimal digits of names, types, shapes and bits of all variables: another one is another model."""
    whole = hashlib.sha256()
    for path, array in jax.tree_util.tree_leaves_with_path(variables):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        whole.update(f"{name} {checksum.of_array(array)}\n".encode())
    return whole.hexdigest()[:16]


def read(workdir: Path, parse: ParseStored, checkpoint: str = "last") -> FinishedRun:
    """Reads the summary and the variables of a checkpoint.

    Args:
      workdir: of the run.
      parse: makes a config of what the summary has of it and of the workdir; `tasks.parse_stored`.
      checkpoint: "last"; "best", by the metric that the run selected by; or the step of one that was kept.

    Raises:
      NoFinishedRun: the workdir is missing, or has no summary or no such checkpoint.
      RunFileError: the summary is damaged.
      ConfigError: the run's config is none of this version.
      DamagedCheckpoint: the checkpoint cannot be read, or is not what was written.
    """
    found = summary.read(workdir)
    step = _step(workdir, found, checkpoint)
    config, path = parse(found["config"], workdir), workdir / checkpoint_files.FOLDER / str(step)
    sealed, epoch = seal.read(path), math.ceil(step * config.epochs / found["steps"])
    return FinishedRun(workdir, config, step, epoch, sealed.record, _variables(path, sealed))


def _step(workdir: Path, found: dict[str, Any], checkpoint: str) -> int:
    folder = workdir / checkpoint_files.FOLDER
    kept = checkpoint_files.steps(folder)
    if not kept:
        raise NoFinishedRun(f"{folder} holds no checkpoint, without which there are no weights to read.")
    if checkpoint == "last":
        return kept[-1]
    best = found.get("best", {}).get("step")
    step = best if checkpoint == "best" else int(checkpoint) if checkpoint.isdecimal() else None
    if step in kept:
        return step
    known = ", ".join(f"{each} (the best)" if each == best else str(each) for each in kept)
    raise NoFinishedRun(f"{folder} holds no checkpoint {checkpoint!r}. Those of these steps were kept: {known}.")


def _variables(checkpoint: Path, sealed: Seal) -> dict[str, Any]:
    try:
        # All that is read is arrays of numbers, into memory of the host.
        path, handler = (checkpoint / checkpoint_files.STATE).absolute(), ocp.PyTreeCheckpointHandler()
        stored = handler.metadata(path).tree
        wanted = {name: stored[name] for name in _VARIABLES}
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), wanted)
        arrays = jax.tree.map(lambda leaf: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
        read = handler.restore(
            path, args=ocp.args.PyTreeRestore(item=shapes, restore_args=arrays, partial_restore=True)
        )
        read = sealed.without_padding(read)
    except (jax.errors.JaxRuntimeError, MemoryError):
        raise  # too little memory is no damage
    except Exception as error:
        what = next(iter(str(error).splitlines()), "")
        raise DamagedCheckpoint(f"{checkpoint} cannot be read: {type(error).__name__}: {what}") from error
    found = checksum.of_state(jax.tree.map(jnp.asarray, read))
    differing = sorted(name for name in found if found[name] != sealed.checksums.get(name))
    if differing:
        raise DamagedCheckpoint(
            f"{checkpoint} is not what was written: other bits in {', '.join(differing[:3])}. Bring it back from a "
            "copy, or train that run again."
        )
    return {"params": read["params"], **read["model_state"]}
