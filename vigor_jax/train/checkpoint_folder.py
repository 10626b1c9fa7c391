"""One folder of checkpoints, written in the background and verified when they are read."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from vigor_jax.train import disk_space
from vigor_jax.train.state import TrainState
from vigor_jax.workdir import checksum, seal
from vigor_jax.workdir.checkpoint_files import PLAN, RECORD, STATE
from vigor_jax.workdir.errors import DamagedCheckpoint, ResumeError, SaveError
from vigor_jax.workdir.seal import Seal, shapes

_MISMATCHES_SHOWN = 12
_NAMED = 3  # damaged arrays


class CheckpointFolder:
    """Checkpoints in one folder, each in a folder named by its step.

    Orbax's v0 `CheckpointManager` is known to this file alone. A checkpoint appears under its final name only when
    it is complete, so one that was being written when the process died is never found again.
    """

    def __init__(self, directory: Path, *, newest: int, selection_metric: str | None, unpadded_rows: Mapping[str, int]):
        """Finds what `directory` (absolute; made if missing) holds.

        Args:
          directory: of the checkpoints.
          newest: how many of the newest are kept.
          selection_metric: the checkpoint whose metrics have the highest value of it is kept as well; None for none.
          unpadded_rows: as of `Checkpoints`.
        """
        policies = ocp.checkpoint_managers
        options = ocp.CheckpointManagerOptions(
            save_decision_policy=policies.FixedIntervalPolicy(1),  # the loop decides
            preservation_policy=_NewestAndBest(self, newest),
            enable_async_checkpointing=True,
            cleanup_tmp_directories=True,
            lightweight_initialize=True,  # the metrics are in the seals
        )
        self.directory = directory
        self._selection_metric = selection_metric
        self._unpadded_rows = unpadded_rows
        self._seals: dict[int, Seal] = {}
        self._bytes = 0
        self._warned = False
        self._manager = ocp.CheckpointManager(
            directory,
            options=options,
            item_handlers={
                STATE: ocp.StandardCheckpointHandler(),
                PLAN: ocp.StandardCheckpointHandler(),
                RECORD: ocp.JsonCheckpointHandler(),
            },
        )

    def path(self, step: int) -> Path:
        """Of the checkpoint of a step."""
        return self.directory / str(step)

    def steps(self) -> list[int]:
        """Of all checkpoints, ascending; with the one that is being written, if there is one."""
        return sorted(self._manager.all_steps())

    def best(self, steps: Sequence[int] | None = None) -> int | None:
        """The step, of these or of all, whose evaluation was the best; the later of equals; None without any.

        None also where nothing selects.
        """
        if self._selection_metric is None:
            return None
        qualities = {}
        for step in self.steps() if steps is None else steps:
            with contextlib.suppress(DamagedCheckpoint):
                metrics = self.seal(step).metrics
                if metrics is not None:
                    qualities[step] = (metrics[self._selection_metric], step)
        return max(qualities, key=qualities.get, default=None)

    def seal(self, step: int) -> Seal:
        """What the checkpoint of `step` says of itself.

        Raises:
          DamagedCheckpoint: it cannot be read, or is not what was written.
        """
        if step not in self._seals:
            self._seals[step] = seal.read(self.path(step))
        return self._seals[step]

    def save(
        self,
        step: int,
        state: TrainState,
        record: dict[str, Any],
        metrics: dict[str, float] | None,
        plan: dict[str, np.ndarray],
    ) -> None:
        """Copies the state off the devices, then writes in the background.

        The one saved before is on disk when this returns.

        Raises:
          SaveError: this one or the one before could not be written.
        """
        self._bytes = sum(leaf.nbytes for leaf in jax.tree.leaves((state, plan)))
        self._warn_of_little_space()
        sealed = seal.make(record, metrics, state, plan, self._unpadded_rows)
        items = {STATE: ocp.args.StandardSave(state), RECORD: ocp.args.JsonSave(seal.to_json(sealed))}
        if plan:
            items[PLAN] = ocp.args.StandardSave(jax.tree.map(np.array, plan))
        with self._writing():
            self._manager.wait_until_finished()
            self._seals[step] = sealed  # the policy asks for it
            if not self._manager.save(step, args=ocp.args.Composite(**items)):
                raise ValueError(f"there is one of step {max(self.steps())} already")

    def restore(self, step: int, into: TrainState) -> TrainState:
        """The state of `step`, laid out as `into` says, whatever devices it was written on.

        Args:
          step: of a checkpoint.
          into: shapes, types and shardings (`state.abstract`).

        Raises:
          ResumeError: the checkpoint is of another model.
          DamagedCheckpoint: it cannot be read, or is not what was written.
        """
        sealed = self.seal(step)
        with _reading():
            stored = shapes(self._manager.item_metadata(step)[STATE], self._unpadded_rows)
        self._require_same_shapes(step, sealed.shapes, shapes(into, self._unpadded_rows), "this model")
        if stored != sealed.shapes:
            raise DamagedCheckpoint("its arrays have other names, types or shapes than were written")
        # Not strict: what the devices share is padded to a multiple of them, so the number of rows may differ.
        wanted = ocp.args.StandardRestore(into, strict=False)
        with _reading():
            state = self._manager.restore(step, args=ocp.args.Composite(**{STATE: wanted}))[STATE]
        _require_same_sums(sealed.checksums, checksum.of_state(state))
        return state

    def plan(self, step: int, like: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The plan that was stored at `step`.

        Args:
          step: of a checkpoint.
          like: a plan of the same names, shapes and types.

        Raises:
          ResumeError: it has other shapes.
          DamagedCheckpoint: it cannot be read, or is not what was written.
        """
        if not like:
            return {}
        sealed = self.seal(step)
        self._require_same_shapes(step, sealed.plan_shapes, shapes(like, {}), "this batch plan")
        wanted = ocp.args.StandardRestore(like)
        with _reading():
            plan = self._manager.restore(step, args=ocp.args.Composite(**{PLAN: wanted}))[PLAN]
        _require_same_sums(sealed.plan_checksums, {name: checksum.of_array(array) for name, array in plan.items()})
        return plan

    def reload(self) -> None:
        """Finds again what the directory holds."""
        self._manager.reload()
        self._seals.clear()

    def wait(self) -> None:
        """Returns when everything saved is on disk.

        Raises:
          SaveError: it could not be written.
        """
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits as `wait` does and ends the threads."""
        with self._writing():
            self._manager.close()

    def _warn_of_little_space(self) -> None:
        free = disk_space.free_bytes(self.directory)
        if free < self._bytes and not self._warned and jax.process_index() == 0:
            logging.warning("%s in %s; it may not fit.", self._space(free), self.directory)
        self._warned = free < self._bytes

    def _space(self, free: int) -> str:
        return f"A checkpoint takes up to {disk_space.readable(self._bytes)}, and {disk_space.readable(free)} are free"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Says where and why a checkpoint could not be written, and what there is to go on from."""
        try:
            yield
        except (OSError, ValueError) as error:
            self.reload()  # Orbax has already left out those that the new one would have replaced
            exhausted = disk_space.is_exhausted(error)
            space = self._space(disk_space.free_bytes(self.directory))
            why = f"the disk or the quota is full. {space}" if exhausted else error
            steps = self.steps()
            left = f"The last good one is {self.path(steps[-1])}" if steps else "There is none before it"
            mend = "Make room" if exhausted else "Mend that"
            raise SaveError(
                f"A checkpoint could not be written to {self.directory}: {why}. {left}.\n{mend}, or copy the workdir "
                "elsewhere and name its new place by --workdir; then the same command goes on from there."
            ) from error

    def _require_same_shapes(self, step: int, stored: dict[str, str], wanted: dict[str, str], what: str) -> None:
        differing = [key for key in sorted(stored | wanted) if stored.get(key) != wanted.get(key)]
        # The optimiser's moments have the parameters' shapes and would tell everything thrice.
        own = [key for key in differing if not key.startswith("opt_state/")]
        if not own:
            own, what = differing, "this optimiser"
        lines = [
            f"  {key}: {stored.get(key, 'missing')} in the checkpoint, {wanted.get(key, 'missing')} in {what}"
            for key in own
        ]
        if not lines:
            return
        if len(lines) > _MISMATCHES_SHOWN:
            lines = [*lines[:_MISMATCHES_SHOWN], f"  ... and {len(lines) - _MISMATCHES_SHOWN} more"]
        kind = what.removeprefix("this ")
        raise ResumeError(
            f"The checkpoint of step {step} in {self.directory} is of another {kind}:\n"
            + "\n".join(lines)
            + "\nArrays of other shapes cannot be gone on with, whatever is allowed to change. Give another --workdir, "
            "or the config that this workdir was started with."
        )


class _NewestAndBest(ocp.checkpoint_managers.PreservationPolicy):
    """Keeps the newest few checkpoints and the best."""

    def __init__(self, folder: CheckpointFolder, newest: int):
        self._folder = folder
        self._newest = newest

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = {*sorted(steps)[-self._newest :], self._folder.best(steps)}
        return [step in kept for step in steps]


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Makes one error of the many that Orbax, TensorStore and the decoders below them raise over damaged files."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError):
        raise  # too little memory is no damage
    except Exception as error:
        raise DamagedCheckpoint(f"it cannot be read: {type(error).__name__}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "").partition(" [tensorstore_spec=")[0]


def _require_same_sums(written: dict[str, str], read: dict[str, str]) -> None:
    differing = [name for name in written | read if written.get(name) != read.get(name)]
    if differing:
        more = f" and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
        raise DamagedCheckpoint(f"other bits were read than were written in {', '.join(differing[:_NAMED])}{more}")
