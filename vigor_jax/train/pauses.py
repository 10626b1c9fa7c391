"""What happens between two steps: evaluations, checkpoints, and the stop that was asked for."""

import contextlib
from typing import NoReturn

from vigor_jax.encoding.stopping import EvaluationStopped
from vigor_jax.errors import Preempted
from vigor_jax.train import plateau
from vigor_jax.train.epoch_table import EpochTable
from vigor_jax.train.preemption import resume_command
from vigor_jax.train.progress import Progress
from vigor_jax.train.run import Run
from vigor_jax.train.state import TrainState
from vigor_jax.workdir import findings, metrics_log
from vigor_jax.workdir.metrics_log import MetricWriter


class Pauses:
    """Evaluates and saves when that is due, and ends the run when it was asked to.

    Attributes:
      metrics: of the last evaluation, if the state now is the one it was of.
    """

    def __init__(self, run: Run, progress: Progress, writer: MetricWriter | None, metrics: dict[str, float] | None):
        """Prints the rows of the epoch table that earlier starts printed.

        Args:
          run: this start.
          progress: says why it stands still.
          writer: of evaluations; None on all hosts but the first.
          metrics: of the evaluation of the state that the run goes on with, if there was one.
        """
        self._run = run
        self._progress = progress
        self._writer = writer
        self._table = EpochTable()
        self.metrics = metrics
        if run.is_first_host:
            for row in metrics_log.read(run.workdir / metrics_log.FILE_NAME):
                if "epoch" in row:
                    found = {name: float(value) for name, value in row.items()}
                    self._table.add(row["epoch"], run.task.table(found))

    def is_due(self, done: int) -> bool:
        """Whether a checkpoint is to be written after `done` updates."""
        return done % self._run.config.checkpoint_every_steps == 0 or self._is_evaluated(done)

    def after(self, state: TrainState, done: int, stops: bool) -> TrainState:
        """Evaluates and saves what is due after `done` updates, and ends the run if it was asked to.

        Args:
          state: after them; nothing of it is non-finite.
          done: updates.
          stops: the run was asked to end.

        Returns:
          The state to go on with, which is the one saved: what an evaluation decides is in it (`train/plateau.py`).

        Raises:
          Preempted: it was, here or meanwhile, and all is saved.
          SaveError: the checkpoint cannot be written.
        """
        evaluates, saved = self._is_evaluated(done), False
        if self.is_due(done) and not (stops and evaluates):
            # A stop in an evaluation leaves all of it to the start that goes on.
            with contextlib.suppress(EvaluationStopped):
                self._progress.note("evaluating" if evaluates else "saving")
                self.metrics = self._evaluate(state, done) if evaluates else None
                state = self._observed(state, done)
                self._run.watch.alive(f"saving the checkpoint of step {done}")
                plan = self._run.task.plan_state()
                self._run.checkpoints.save(done, state, self._run.record, self.metrics, plan=plan)
                saved = True
            stops = self._run.signals.should_stop()
        if stops and not (saved and done == self._run.total_steps):
            self._progress.note("saving")
            self._stop(state, done)
        return state

    def evaluate_now(self, state: TrainState, done: int) -> None:
        """Evaluates after `done` updates although it is not due.

        Raises:
          Preempted: it was asked to end meanwhile.
        """
        try:
            self.metrics = self._evaluate(state, done)
        except EvaluationStopped:
            self._stop(state, done)

    def _is_evaluated(self, done: int) -> bool:
        return self._is_regular(done) or done == self._run.total_steps

    def _is_regular(self, done: int) -> bool:
        return done % (self._run.config.evaluate_every_epochs * self._run.task.steps_per_epoch) == 0

    def _observed(self, state: TrainState, done: int) -> TrainState:
        """After an evaluation that a longer run would have had as well: one more, at the end, must not decide how the
        run goes on when it is given more epochs.
        """
        if self.metrics is None or not self._is_regular(done):
            return state
        run = self._run
        opt_state = plateau.observe(
            state.opt_state, self.metrics, run.task.selection_metric, run.config.optimizer, run.mesh, done
        )
        return state.replace(opt_state=opt_state)

    def _evaluate(self, state: TrainState, done: int) -> dict[str, float]:
        run = self._run
        run.watch.alive(f"evaluating after step {done}")

        def should_stop() -> bool:
            run.watch.alive(f"evaluating after step {done}")
            return run.signals.should_stop()

        evaluated = run.task.evaluate(state.variables, run.mesh, should_stop)
        metrics = evaluated.metrics
        if done == run.total_steps:
            metrics = metrics | run.task.evaluate_at_end(state.variables, run.mesh, should_stop)
        epoch = -(-done // run.task.steps_per_epoch)
        if self._writer is not None:
            if evaluated.findings:
                findings.write(run.workdir, done, evaluated.findings)
            self._writer.write(done, {"epoch": epoch, **metrics})
            self._table.add(epoch, run.task.table(metrics))
        return metrics

    def _stop(self, state: TrainState, done: int) -> NoReturn:
        run = self._run
        run.watch.alive(f"saving the checkpoint of step {done}, where the run was stopped")
        plan = run.task.plan_state()
        run.checkpoints.save_interrupted(done, state, run.record, plan=plan)
        stopped = f"Stopped by {run.signals.reason} after step {done} of {run.total_steps}"
        if not run.is_first_host:
            raise Preempted(f"{stopped}, with all other hosts.")
        raise Preempted(f"{stopped}, saved in {run.checkpoints.path(done)}. To go on:\n  {resume_command()}")
