"""Where a start begins: with a fresh state, or with the newest checkpoint that can be trusted."""

import dataclasses

from absl import logging

from vigor_jax.config import ConfigError
from vigor_jax.parallel import hosts
from vigor_jax.train import state
from vigor_jax.train.checkpoint import Restored
from vigor_jax.train.run_context import RunContext
from vigor_jax.workdir import metrics_log, provenance
from vigor_jax.workdir.provenance import Provenance


def begin(run: RunContext, *, allow_changes: bool) -> Restored:
    """The state to go on with; the task's plan is put back.

    Args:
      run: this start.
      allow_changes: go on although the seed, the batches or the data are others than before, with a warning.

    Returns:
      Of the newest checkpoint, or of step 0 with a fresh state. After the last step it has no metrics if the
      evaluation must be made anew.

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
    if restored.step == run.total_steps and not hosts.from_first(lambda: _last_evaluation_stands(run, restored)):
        return dataclasses.replace(restored, metrics=None)
    return restored


def _require_resumable(run: RunContext, step: int, stored: Provenance, allow_changes: bool) -> None:
    if not allow_changes:
        provenance.require_resumable(stored, run.provenance, f"The checkpoint of step {step} in {run.workdir}")
    for difference in provenance.differences(stored, run.provenance):
        logging.warning("Allowed to change: %s", difference)
    for change in provenance.changes(stored, run.provenance):
        logging.info("Changed since step %d: %s", step, change)
    if step > run.total_steps:
        raise ConfigError(
            f"config.epochs = {run.config.epochs} ends at step {run.total_steps}, but {run.workdir} is at "
            f"step {step}: ask for more epochs, or give another --workdir."
        )


def _last_evaluation_stands(run: RunContext, restored: Restored) -> bool:
    """Whether the evaluation of the last step is the one that this start would make, and the newest in the workdir.

    It is not where the run was to be longer then, or is now to be tested in another way, or was so meanwhile: metrics,
    findings and the table of epochs would be of several evaluations.
    """
    if restored.metrics is None or not run.task.metrics_at_end <= restored.metrics.keys():
        return False
    stored = run.checkpoints.record(restored.step)
    if provenance.changes(stored, run.provenance) or provenance.differences(stored, run.provenance):
        return False
    rows = metrics_log.read(run.workdir / metrics_log.FILE_NAME)
    evaluations = [row for row in rows if "epoch" in row and row["step"] == restored.step]
    return any({"step": restored.step, "epoch": row["epoch"], **restored.metrics} == row for row in evaluations)
