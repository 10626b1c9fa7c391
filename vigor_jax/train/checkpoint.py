"""Checkpoints of a run: written in the background, the newest few and the best kept, restored on any devices."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from vigor_jax.errors import UserError
from vigor_jax.train.state import TrainState

_MISMATCHES_SHOWN = 12


class ResumeError(UserError):
    """What lies in the workdir cannot be gone on with; the message shows both sides and the mend."""


class Checkpoints:
    """The checkpoints of one workdir; a context manager, which waits for the last one to be written.

    Orbax's v0 `CheckpointManager` is known to this file alone. A checkpoint appears under its final name only when
    it is complete, so one that was being written when the process died is never found again.
    """

    def __init__(self, directory: Path, *, newest: int, selection_metric: str):
        """Finds what `directory` (absolute; made if missing) holds.

        Args:
          directory: of all checkpoints, one folder a step.
          newest: how many of the newest are kept.
          selection_metric: the checkpoint whose metrics have the highest value of it is kept as well.
        """

        def quality(metrics: Mapping[str, float]) -> float:
            return metrics[selection_metric]

        policies = ocp.checkpoint_managers
        keep_best = policies.BestN(get_metric_fn=quality, n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            save_decision_policy=policies.FixedIntervalPolicy(1),  # the loop decides
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(newest), keep_best]),
            best_fn=quality,  # without it no metrics would be stored
            enable_async_checkpointing=True,
            cleanup_tmp_directories=True,
        )
        self.directory = directory
        self._manager = ocp.CheckpointManager(
            directory,
            options=options,
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "plan": ocp.StandardCheckpointHandler(),
                "record": ocp.JsonCheckpointHandler(),
            },
        )

    def latest(self) -> int | None:
        """The step of the newest complete checkpoint."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """The step whose evaluation was the best, of the checkpoints kept; None before the first evaluation."""
        return self._manager.best_step()

    def metrics(self, step: int) -> dict[str, float] | None:
        """What the evaluation at `step` found; None if there was none."""
        return self._manager.metrics(step)

    def record(self, step: int) -> dict[str, Any]:
        """What was stored beside the state at `step`.

        Raises:
          ResumeError: it cannot be read.
        """
        with self._reading(step):
            return self._manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))["record"]

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
        """
        items = {"state": ocp.args.StandardSave(state), "record": ocp.args.JsonSave(record)}
        if plan:
            items["plan"] = ocp.args.StandardSave(jax.tree.map(np.array, plan))
        self._manager.save(step, args=ocp.args.Composite(**items), metrics=metrics)

    def restore(self, step: int, into: TrainState) -> TrainState:
        """The state of `step`, laid out as `into` says, whatever devices it was written on.

        Args:
          step: of a checkpoint.
          into: shapes, types and shardings (`state.abstract`).

        Raises:
          ResumeError: the checkpoint is of another model, or cannot be read.
        """
        with self._reading(step):
            stored = _shapes(self._manager.item_metadata(step)["state"])
        self._require_same_shapes(step, stored, _shapes(into))
        # Not strict: the carry's rows are padded to a multiple of the devices, so their number may differ.
        wanted = ocp.args.StandardRestore(into, strict=False)
        with self._reading(step):
            return self._manager.restore(step, args=ocp.args.Composite(state=wanted))["state"]

    def plan(self, step: int, like: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The plan that was stored at `step`.

        Args:
          step: of a checkpoint.
          like: a plan of the same names, shapes and types.

        Raises:
          ResumeError: it cannot be read, or has other shapes.
        """
        if not like:
            return {}
        with self._reading(step):
            return self._manager.restore(step, args=ocp.args.Composite(plan=ocp.args.StandardRestore(like)))["plan"]

    def wait(self) -> None:
        """Returns when everything saved is on disk; raises what went wrong in the background."""
        self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _reading(self, step: int) -> Iterator[None]:
        """Names the checkpoint in what Orbax and TensorStore raise over damaged files."""
        try:
            yield
        except (ValueError, OSError, KeyError) as error:
            raise ResumeError(
                f"The checkpoint of step {step} cannot be read: {error}\nDelete {self.directory / str(step)} to go on "
                "from the one before it."
            ) from error

    def _require_same_shapes(self, step: int, stored: dict[str, str], wanted: dict[str, str]) -> None:
        differing = [key for key in sorted(stored | wanted) if stored.get(key) != wanted.get(key)]
        # The optimiser's moments have the parameters' shapes and would tell everything thrice.
        own = [key for key in differing if not key.startswith("opt_state/")] or differing
        lines = [
            f"  {key}: {stored.get(key, 'missing')} in the checkpoint, {wanted.get(key, 'missing')} in this model"
            for key in own
        ]
        if not lines:
            return
        if len(lines) > _MISMATCHES_SHOWN:
            lines = [*lines[:_MISMATCHES_SHOWN], f"  ... and {len(lines) - _MISMATCHES_SHOWN} more"]
        raise ResumeError(
            f"The checkpoint of step {step} in {self.directory} is of another model:\n"
            + "\n".join(lines)
            + "\nGive another --workdir, or the config that this workdir was started with."
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._manager.close()


def _shapes(tree: Any) -> dict[str, str]:
    """`{"params/aerial/kernel": "float32 [3, 3, 64, 64]"}` of a tree of arrays or of their descriptions.

    Of the carry's arrays with rows these are left out, for they depend on the number of devices.
    """
    shapes = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        shape = list(leaf.shape)
        if name.startswith("carry/") and len(shape) > 1:
            shape[0] = "rows"
        shapes[name] = f"{leaf.dtype} {json.dumps(shape)}"
    return shapes
