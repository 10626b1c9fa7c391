"""Where a start begins: with a fresh state, or with the newest checkpoint that can be trusted."""

from typing import Any

from absl import logging

from vigor_jax.config import ConfigError
from vigor_jax.train import record, state
from vigor_jax.train.checkpoint import Restored
from vigor_jax.train.run import Run
from vigor_jax.workdir import metrics_log


def begin(run: Run, *, allow_changes: bool) -> Restored:
    """The state to go on with; the task's plan is put back.

    Args:
      run: this start.
      allow_changes: go on although the seed, the batches or the data are others than before, with a warning.

    Returns:
      Of the newest checkpoint, or of step 0 with a fresh state.

    Raises:
      ResumeError: the checkpoints are of another model, seed, batch or data, or all of them are damaged.
      ConfigError: they are beyond the last step.
    """
    latest = run.checkpoints.latest()
    if latest is None:
        run.watch.alive("making the first state")
        fresh = state.create(run.task, run.optimizer, run.config.seed, run.mesh)
        return Restored(step=0, state=fresh, plan=run.task.plan_state(), metrics=None, interrupted=False)
    run.watch.alive(f"restoring the checkpoint of step {latest}")
    into = state.abstract(run.task, run.optimizer, run.config.seed, run.mesh)
    restored = run.checkpoints.restore_newest(
        into, run.task.plan_state(), lambda step, stored: _require_resumable(run, step, stored, allow_changes)
    )
    run.task.restore_plan(restored.plan)
    return restored


def last_evaluation_stands(run: Run, begin: Restored) -> bool:
    """Whether the evaluation of the last step is the one that this start would make, and the newest in the workdir.

    It is not where the run was to be longer then, or is now to be tested in another way, or was so meanwhile: metrics,
    findings and the table of epochs would be of several evaluations.
    """
    if begin.metrics is None or not run.task.metrics_at_end <= begin.metrics.keys():
        return False
    stored = run.checkpoints.record(begin.step)
    if record.changes(stored, run.record) or record.differences(stored, run.record):
        return False
    rows = metrics_log.read(run.workdir / metrics_log.FILE_NAME)
    evaluations = [row for row in rows if "epoch" in row and row["step"] == begin.step]
    return any({"step": begin.step, "epoch": row["epoch"], **begin.metrics} == row for row in evaluations)


def _require_resumable(run: Run, step: int, stored: dict[str, Any], allow_changes: bool) -> None:
    where = f"The checkpoint of step {step} in {run.workdir}"
    if not allow_changes:
        record.require_resumable(stored, run.record, where)
    for difference in record.differences(stored, run.record):
        logging.warning("Allowed to change: %s", difference)
    for change in record.changes(stored, run.record):
        logging.info("Changed since step %d: %s", step, change)
    if step > run.total_steps:
        raise ConfigError(
            f"config.epochs = {run.config.epochs} ends at step {run.total_steps}, but {run.workdir} is at "
            f"step {step}: ask for more epochs, or give another --workdir."
        )
