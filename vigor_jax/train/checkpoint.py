"""The checkpoints of a run: the newest few and the best, one of where it was stopped, and none that is damaged."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from vigor_jax.train.checkpoint_folder import CheckpointFolder
from vigor_jax.train.state import TrainState
from vigor_jax.workdir import checkpoint_files
from vigor_jax.workdir.errors import DamagedCheckpoint, ResumeError, SaveError

__all__ = ["Checkpoints", "DamagedCheckpoint", "Restored", "ResumeError", "SaveError"]


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a run goes on from.

    Attributes:
      step: updates done.
      state: on the devices.
      plan: what the batches depend on.
      metrics: of the evaluation at this step; None if there was none.
      interrupted: the run was stopped right after this step, before it evaluated or saved as the step may demand.
    """

    step: int
    state: TrainState
    plan: dict[str, np.ndarray]
    metrics: dict[str, float] | None
    interrupted: bool


class Checkpoints:
    """The checkpoints of one workdir; a context manager, which waits for the last one to be written.

    The regular ones are the newest few and the best. Beside them lies at most one of a run that was stopped between
    two of them, in a folder of its own, so that it neither counts among them nor replaces any; it goes when a regular
    one has got as far.
    """

    def __init__(
        self,
        directory: Path,
        *,
        newest: int,
        selection_metric: str | None,
        unpadded_rows: Mapping[str, int] | None = None,
    ):
        """Finds what there is.

        Args:
          directory: of the regular checkpoints (absolute; made if missing), one folder a step. The others lie beside
            it, in folders whose names begin with its name.
          newest: how many of the newest are kept.
          selection_metric: the checkpoint whose metrics have the highest value of it is kept as well; None for none.
          unpadded_rows: of the arrays that the devices share (`state.unpadded_rows`); None where they share none.
        """
        self.directory = directory
        self._unpadded_rows = unpadded_rows or {}
        self._selection_metric = selection_metric
        self._regular = CheckpointFolder(
            directory, newest=newest, selection_metric=selection_metric, unpadded_rows=self._unpadded_rows
        )
        self._interrupted_at = checkpoint_files.interrupted(directory)
        self._interrupted = self._open_interrupted() if self._interrupted_at.exists() else None

    def _open_interrupted(self) -> CheckpointFolder:
        return CheckpointFolder(
            self._interrupted_at, newest=1, selection_metric=self._selection_metric, unpadded_rows=self._unpadded_rows
        )

    def latest(self) -> int | None:
        """The step of the newest checkpoint."""
        return max((step for _, step in self._all()), default=None)

    def path(self, step: int) -> Path:
        """Where the checkpoint of `step` lies."""
        return self._folder(step).path(step)

    def best(self) -> int | None:
        """The step whose evaluation was the best, of the checkpoints kept; None before the first evaluation,
        and where nothing selects.
        """
        return self._regular.best()

    def metrics(self, step: int) -> dict[str, float] | None:
        """What the evaluation at `step` found; None if there was none."""
        return self._folder(step).seal(step).metrics

    def record(self, step: int) -> dict[str, Any]:
        """What was stored beside the state at `step`.

        Raises:
          DamagedCheckpoint: it cannot be read, or is not what was written.
        """
        return self._folder(step).seal(step).record

    def save(
        self,
        step: int,
        state: TrainState,
        record: dict[str, Any],
        metrics: dict[str, float] | None,
        *,
        plan: dict[str, np.ndarray] | None = None,
    ) -> None:
        """Copies the state off the devices, then writes in the background.

        Args:
          step: updates done.
          state: may be donated as soon as this returns.
          record: JSON-able; says what the state was made with.
          metrics: of the evaluation at this step, if there was one.
          plan: what the batches depend on (`Task.plan_state`), the same on every host; may be changed as soon as this
            returns.

        Raises:
          SaveError: this one or the one before could not be written.
        """
        complete = max(self._regular.steps(), default=-1)
        self._regular.save(step, state, record, metrics, plan or {})
        self._drop_interrupted(complete)

    def save_interrupted(
        self, step: int, state: TrainState, record: dict[str, Any], *, plan: dict[str, np.ndarray] | None = None
    ) -> None:
        """Writes where a run is stopped, unless the very step is saved; returns when it is on disk.

        Raises:
          SaveError: this one, or a regular one before it, could not be written.
        """
        if step not in (known for _, known in self._all()):
            # Two folders must not write at once: on several hosts Orbax waits for all at barriers whose names say
            # nothing of the folder, and fails when they meet in one.
            self._regular.wait()
            if self._interrupted is None:
                self._interrupted = self._open_interrupted()
            self._interrupted.save(step, state, record, None, plan or {})
        self.wait()

    def restore_newest(
        self, into: TrainState, plan: dict[str, np.ndarray], check: Callable[[int, dict[str, Any]], None]
    ) -> Restored | None:
        """The newest checkpoint that is whole; those that are damaged are named and moved aside.

        To be called on every host.

        Args:
          into: shapes, types and shardings (`state.abstract`).
          plan: of the same names, shapes and types as the stored one.
          check: of a step and its record; raises if they cannot be gone on with.

        Returns:
          None if there are no checkpoints.

        Raises:
          ResumeError: one is of another model or batch plan, or all are damaged; then nothing is moved.
        """
        found = self._all()
        if not found:
            return None
        damage: dict[tuple[CheckpointFolder, int], str] = {}
        for folder, step in found:
            try:
                folder.seal(step)
            except DamagedCheckpoint as error:
                damage[folder, step] = str(error)
        self._agree(found, damage)
        for folder, step in found:
            if (folder, step) in damage:
                continue
            check(step, folder.seal(step).record)
            restored = None
            try:
                restored = self._restored(folder, step, into, plan)
            except DamagedCheckpoint as error:
                damage[folder, step] = str(error)
            self._agree(found, damage)
            if (folder, step) not in damage:
                self._set_aside(damage, step)
                return restored
        lines = [f"  {folder.path(step)}: {damage[folder, step]}" for folder, step in found]
        raise ResumeError(
            "Every checkpoint of this run is damaged:\n"
            + "\n".join(lines)
            + "\nBring one back from a copy, or give another --workdir to start afresh."
        )

    def restore(self, step: int, into: TrainState) -> TrainState:
        """The state of `step`, laid out as `into` says, whatever devices it was written on.

        Args:
          step: of a checkpoint.
          into: shapes, types and shardings (`state.abstract`).

        Raises:
          ResumeError: the checkpoint is of another model.
          DamagedCheckpoint: it is not what was written.
        """
        try:
            return self._folder(step).restore(step, into)
        except DamagedCheckpoint as error:
            raise DamagedCheckpoint(
                f"The checkpoint of step {step} is damaged: {error}. Move {self.path(step)} elsewhere to go on from "
                "the one before it."
            ) from error

    def plan(self, step: int, like: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The plan that was stored at `step`.

        Args:
          step: of a checkpoint.
          like: a plan of the same names, shapes and types.

        Raises:
          ResumeError: it has other shapes.
          DamagedCheckpoint: it is not what was written.
        """
        return self._folder(step).plan(step, like)

    def wait(self) -> None:
        """Returns when everything saved is on disk.

        Raises:
          SaveError: it could not be written.
        """
        self._regular.wait()
        if self._interrupted is not None:
            self._interrupted.wait()
        self._drop_interrupted(max(self._regular.steps(), default=-1))

    def _restored(self, folder: CheckpointFolder, step: int, into: TrainState, plan: dict[str, np.ndarray]) -> Restored:
        return Restored(
            step,
            folder.restore(step, into),
            folder.plan(step, plan),
            folder.seal(step).metrics,
            interrupted=folder is self._interrupted,
        )

    def _all(self) -> list[tuple[CheckpointFolder, int]]:
        """Newest first; of the same step the regular one first."""
        folders = [self._regular] if self._interrupted is None else [self._regular, self._interrupted]
        return sorted(((folder, step) for folder in folders for step in folder.steps()), key=lambda each: -each[1])

    def _folder(self, step: int) -> CheckpointFolder:
        for folder, known in self._all():
            if known == step:
                return folder
        raise ValueError(f"{self.directory} holds no checkpoint of step {step}")

    def _agree(
        self, found: list[tuple[CheckpointFolder, int]], damage: dict[tuple[CheckpointFolder, int], str]
    ) -> None:
        """What one host cannot read, none goes on from."""
        if jax.process_count() > 1:
            own = np.array([each in damage for each in found])
            for each, anywhere in zip(found, multihost_utils.process_allgather(own).any(axis=0), strict=True):
                if anywhere:
                    damage.setdefault(each, "another host cannot read it")

    def _set_aside(self, damage: dict[tuple[CheckpointFolder, int], str], used: int) -> None:
        """Moves what is damaged out of the way of the checkpoints to come, and says so."""
        if not damage:
            return
        for folder, step in damage:
            if jax.process_index() == 0:
                place = _unused(checkpoint_files.damaged(self.directory) / str(step))
                place.parent.mkdir(exist_ok=True)
                folder.path(step).rename(place)
                logging.warning(
                    "The checkpoint of step %d, %s, is damaged (%s). It was moved to %s. The run goes on from %s.",
                    step,
                    folder.path(step),
                    damage[folder, step],
                    place,
                    self.path(used),
                )
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoints were set aside")
        for folder in {folder for folder, _ in damage}:
            folder.reload()

    def _drop_interrupted(self, through: int) -> None:
        """Forgets the checkpoint of a stop once a regular one is complete that has got as far."""
        if self._interrupted is None or max(self._interrupted.steps(), default=-1) > through:
            return
        self._interrupted.close()
        self._interrupted = None
        if jax.process_index() == 0:
            shutil.rmtree(self._interrupted_at)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._regular.close()
            if self._interrupted is not None:
                self._interrupted.close()
        except SaveError as unsaved:
            if error is None:
                raise
            logging.error("%s", unsaved)  # what ended the run is more than this, and is raised


def _unused(path: Path) -> Path:
    number, candidate = 1, path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate
