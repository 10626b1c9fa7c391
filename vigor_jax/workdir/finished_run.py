"""What a finished run has learnt, read from its workdir alone: without its data, task or optimiser."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from vigor_jax import config as configs
from vigor_jax.config import Config, ConfigError
from vigor_jax.workdir import checkpoint_files, checksum, seal, summary
from vigor_jax.workdir.errors import DamagedCheckpoint, NoFinishedRun

_VARIABLES = ("params", "model_state")  # of all that a checkpoint's state holds


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run as its last checkpoint has it, by which the metrics of its summary are.

    Attributes:
      workdir: of the run.
      config: of the run.
      step: updates done.
      variables: Flax collections, "params" and the model's own; on the host.
    """

    workdir: Path
    config: Config
    step: int
    variables: dict[str, Any]


def digest(variables: dict[str, Any]) -> str:
    """16 hexadecimal digits of names, types, shapes and bits of all variables: another one is another model."""
    whole = hashlib.sha256()
    for path, array in jax.tree_util.tree_leaves_with_path(variables):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        whole.update(f"{name} {checksum.of_array(array)}\n".encode())
    return whole.hexdigest()[:16]


def read(workdir: Path) -> FinishedRun:
    """Reads the summary and the variables of the last checkpoint.

    Raises:
      NoFinishedRun: the workdir is missing, or has no summary or no checkpoint.
      RunFileError: the summary is damaged.
      ConfigError: the run's config is none of this version.
      DamagedCheckpoint: the checkpoint cannot be read, or is not what was written.
    """
    config = _config(workdir)
    checkpoints = workdir / checkpoint_files.FOLDER
    steps = checkpoint_files.steps(checkpoints)
    if not steps:
        raise NoFinishedRun(f"{checkpoints} holds no checkpoint, without which there are no weights to read.")
    return FinishedRun(workdir, config, steps[-1], _variables(checkpoints / str(steps[-1])))


def _config(workdir: Path) -> Config:
    tree = summary.read(workdir)["config"]
    try:
        return configs.parse(tree)
    except ConfigError as error:
        raise ConfigError(f"the run in {workdir} has a config that this version does not take: {error}") from error


def _variables(checkpoint: Path) -> dict[str, Any]:
    sealed = seal.read(checkpoint)
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
