"""From a config to a trained and evaluated model in a workdir."""

import contextlib
from pathlib import Path
from typing import Any, NoReturn

import jax
from absl import logging

from vigor_jax import config as configs
from vigor_jax import hosts, tasks
from vigor_jax.config import Config, ConfigError
from vigor_jax.errors import Preempted, UserError
from vigor_jax.input.device_feed import DeviceFeed
from vigor_jax.tasks.task import EvaluationStopped, Task
from vigor_jax.train import disk_space, findings, memory, metric_writer, optimizer, record, state, step, summary
from vigor_jax.train.checkpoint import Checkpoints, Restored, SaveError
from vigor_jax.train.epoch_table import EpochTable
from vigor_jax.train.host_spread import HostSpread
from vigor_jax.train.interval import IntervalMeter
from vigor_jax.train.mesh import AXIS, data_mesh, require_divisible
from vigor_jax.train.metric_writer import MetricWriter
from vigor_jax.train.preemption import StopSignals, resume_command
from vigor_jax.train.progress import Progress
from vigor_jax.train.stall_watch import StallWatch
from vigor_jax.train.state import TrainState
from vigor_jax.train.training_log import NonFiniteStep, TrainingLog


class NonFiniteError(UserError):
    """Training broke down; the message names the step and the last good checkpoint."""


def train_and_evaluate(config: Config, workdir: str | Path, *, allow_changes: bool = False) -> dict[str, Any]:
    """Trains what `config` says, or goes on with what `workdir` holds, and evaluates it.

    Called by every host with the same arguments; the workdir is one that all of them see.

    Args:
      config: of `vigor_jax.config.parse`.
      workdir: made if missing; gets checkpoints, metrics and the summary.
      allow_changes: go on although the seed, the batches or the data are others than before, with a warning.

    Returns:
      What `summary.json` holds: config, steps, metrics, best, throughput, memory, versions.

    Raises:
      ConfigError: a value that cannot work here, such as a batch that the devices do not divide.
      ResumeError: the workdir holds a run of another model, seed, batch or data, or all its checkpoints are damaged.
      SaveError: a checkpoint could not be written, for want of space perhaps.
      Preempted: the run was stopped by SIGTERM or SIGINT, and saved.
      NonFiniteError: loss or gradient were not finite.
      HostsDiffer: they were not started alike, or do not share the workdir.
      StoppedTogether: another host failed while all got ready.
      UserError: the workdir cannot be written to, or the devices have too little memory.
    """
    with StopSignals() as signals:
        return _train_and_evaluate(config, Path(workdir).absolute(), signals, allow_changes)


def _train_and_evaluate(config: Config, workdir: Path, signals: StopSignals, allow_changes: bool) -> dict[str, Any]:
    mesh = data_mesh()
    hosts.require_same(
        {
            "--workdir": str(workdir),
            "--allow_changes": allow_changes,
            "config": configs.to_dict(config),
            "version of": record.versions(),
        }
    )
    hosts.together(lambda: require_divisible(config.batch.size, mesh, config.micro_batch_size))
    complete = hosts.from_first(lambda: summary.finished(workdir, config))
    if complete is not None:
        logging.info("This run is complete: %s", workdir / summary.FILE_NAME)
        if hosts.is_first() and summary.report_is_due(workdir):
            _report(tasks.create(config), workdir)
        return complete
    # Host 0 prepares the data; the others find it, or prepare their own where they share no disk.
    task = hosts.first_then_others(lambda: tasks.create(config))
    hosts.require_same({"fingerprint of": task.fingerprint})
    hosts.together(lambda: _make(workdir))
    hosts.require_shared(workdir)
    signals.defer(mesh)
    with (
        StallWatch(config.stall_seconds) as watch,
        Checkpoints(
            workdir / "checkpoints", newest=config.checkpoints_to_keep, selection_metric=task.selection_metric
        ) as checkpoints,
    ):
        return _Run(config, workdir, task, mesh, checkpoints, watch, signals, allow_changes).run()


def _make(workdir: Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be made or written to: {error}") from error


class _Run:
    """The parts of one run; the methods stand in running order."""

    def __init__(
        self,
        config: Config,
        workdir: Path,
        task: Task,
        mesh: jax.sharding.Mesh,
        checkpoints: Checkpoints,
        watch: StallWatch,
        signals: StopSignals,
        allow_changes: bool,
    ) -> None:
        self._config = config
        self._workdir = workdir
        self._task = task
        self._mesh = mesh
        self._checkpoints = checkpoints
        self._watch = watch
        self._signals = signals
        self._allow_changes = allow_changes
        self._record = record.make(config, task)
        self._optimizer = optimizer.create(config.optimizer)
        self._total_steps = config.epochs * task.steps_per_epoch
        self._is_first_host = jax.process_index() == 0
        self._table = EpochTable()
        self._metrics: dict[str, float] | None = None

    def run(self) -> dict[str, Any]:
        """Goes on from the newest checkpoint, if there is one, and to the end."""
        try:
            return self._run()
        except OSError as error:  # of metrics, findings, summary or report
            if not disk_space.is_exhausted(error):
                raise
            raise self._space_error(error) from error

    def _run(self) -> dict[str, Any]:
        restored = self._restored()
        first = 0 if restored is None else restored.step
        train_state = self._fresh() if restored is None else restored.state
        self._show_plan(first)
        with (
            MetricWriter(self._workdir, first) if self._is_first_host else contextlib.nullcontext() as writer,
            Progress(self._total_steps, first, show=self._is_first_host) as progress,
        ):
            self._show_history()
            spread = HostSpread(self._mesh) if jax.process_count() > 1 else None
            log = TrainingLog(self._task, self._config.batch.size, self._total_steps, progress, writer, spread)
            try:
                if restored is not None and restored.interrupted:
                    self._after(train_state, first, False, progress, writer)
                if first < self._total_steps:
                    self._train(train_state, first, log, progress, writer)
                elif self._metrics is None:  # fewer epochs than at the start, and none of them evaluated
                    self._metrics = self._evaluate(train_state, first, writer)
            except EvaluationStopped:  # the last one above
                self._stop(train_state, first)
            except NonFiniteStep as event:
                raise self._nonfinite_error(event.step) from event
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                raise self._memory_error(error) from error
        return self._finish(log)

    # ---- Start ----

    def _fresh(self) -> TrainState:
        self._watch.alive("making the first state")
        return state.create(self._task, self._optimizer, self._config.seed, self._mesh)

    def _restored(self) -> Restored | None:
        latest = self._checkpoints.latest()
        if latest is None:
            return None
        self._watch.alive(f"restoring the checkpoint of step {latest}")
        into = state.abstract(self._task, self._optimizer, self._config.seed, self._mesh)
        restored = self._checkpoints.restore_newest(into, self._task.plan_state(), self._require_resumable)
        self._metrics = restored.metrics
        self._task.restore_plan(restored.plan)
        return restored

    def _require_resumable(self, step: int, stored: dict[str, Any]) -> None:
        where = f"The checkpoint of step {step} in {self._workdir}"
        if not self._allow_changes:
            record.require_resumable(stored, self._record, where)
        for difference in record.differences(stored, self._record):
            logging.warning("Allowed to change: %s", difference)
        for change in record.changes(stored, self._record):
            logging.info("Changed since step %d: %s", step, change)
        if step > self._total_steps:
            raise ConfigError(
                f"config.epochs = {self._config.epochs} ends at step {self._total_steps}, but {self._workdir} is at "
                f"step {step}: ask for more epochs, or give another --workdir."
            )

    def _show_plan(self, first: int) -> None:
        if not self._is_first_host:
            return
        device = self._mesh.devices.flat[0]
        logging.info(
            "%s: %d steps of %d examples, %d an epoch, on %d x %s; workdir %s",
            self._config.name,
            self._total_steps,
            self._config.batch.size,
            self._task.steps_per_epoch,
            self._mesh.size,
            device.device_kind,
            self._workdir,
        )
        if first:
            logging.info("Going on from step %d.", first)

    def _show_history(self) -> None:
        """The rows that an earlier start printed."""
        if self._is_first_host:
            for row in metric_writer.read(self._workdir / metric_writer.FILE_NAME):
                if "epoch" in row:
                    self._table.add(row["epoch"], self._task.table(row))

    # ---- Steps ----

    def _train(
        self, train_state: TrainState, first: int, log: TrainingLog, progress: Progress, writer: MetricWriter | None
    ) -> None:
        config = self._config
        schedule = optimizer.learning_rate(config.optimizer)
        update = step.make(self._task, self._optimizer, schedule, config.seed, self._mesh)
        with DeviceFeed(self._task.batches(first), self._mesh, AXIS) as feed:
            meter = IntervalMeter(lambda: feed.wait_seconds, first)
            self._watch.alive(f"waiting for the data of step {first + 1}")
            for done, batch in zip(range(first + 1, self._total_steps + 1), feed, strict=False):
                self._watch.alive(f"{'compiling and ' if done == first + 1 else ''}running step {done}")
                train_state, metrics, first_nonfinite_step, feedback = update(train_state, batch)
                self._task.take_feedback(done - 1, feedback)
                meter.add(metrics, first_nonfinite_step)
                progress.advance()
                log.poll()
                stops, saves = self._signals.should_stop(), self._saves_after(done)
                if saves or stops:
                    meter.finish()
                if saves or stops or done % config.log_every_steps == 0 or done % self._task.steps_per_epoch == 0:
                    # A checkpoint ends the interval too, so that the intervals of a resumed run are those of an
                    # unbroken one; and so does an epoch, from which on other losses may be logged.
                    log.put(meter.close())
                if saves or stops:
                    log.flush()  # nothing non-finite is evaluated or saved
                    self._after(train_state, done, stops, progress, writer)
                    meter.restart()
                self._watch.alive(f"waiting for the data of step {done + 1}")
            self._watch.alive("ending the last step")
        log.flush()

    def _after(
        self, train_state: TrainState, done: int, stops: bool, progress: Progress, writer: MetricWriter | None
    ) -> None:
        """Evaluates and saves what is due after `done` updates, and ends the run if it was asked to."""
        evaluates, saved = self._evaluates_after(done), False
        if self._saves_after(done) and not (stops and evaluates):
            # A stop in an evaluation leaves all of it to the start that goes on.
            with contextlib.suppress(EvaluationStopped):
                progress.note("evaluating" if evaluates else "saving")
                self._metrics = self._evaluate(train_state, done, writer) if evaluates else None
                self._watch.alive(f"saving the checkpoint of step {done}")
                plan = self._task.plan_state()
                self._checkpoints.save(done, train_state, self._record, self._metrics, plan=plan)
                saved = True
            stops = self._signals.should_stop()
        if stops and not (saved and done == self._total_steps):
            progress.note("saving")
            self._stop(train_state, done)

    def _stop(self, train_state: TrainState, done: int) -> NoReturn:
        self._watch.alive(f"saving the checkpoint of step {done}, where the run was stopped")
        plan = self._task.plan_state()
        self._checkpoints.save_interrupted(done, train_state, self._record, plan=plan)
        stopped = f"Stopped by {self._signals.reason} after step {done} of {self._total_steps}"
        if not self._is_first_host:
            raise Preempted(f"{stopped}, with all other hosts.")
        raise Preempted(f"{stopped}, saved in {self._checkpoints.path(done)}. To go on:\n  {resume_command()}")

    def _evaluates_after(self, done: int) -> bool:
        every = self._config.evaluate_every_epochs * self._task.steps_per_epoch
        return done % every == 0 or done == self._total_steps

    def _saves_after(self, done: int) -> bool:
        return done % self._config.checkpoint_every_steps == 0 or self._evaluates_after(done)

    def _evaluate(self, train_state: TrainState, done: int, writer: MetricWriter | None) -> dict[str, float]:
        self._watch.alive(f"evaluating after step {done}")

        def should_stop() -> bool:
            self._watch.alive(f"evaluating after step {done}")
            return self._signals.should_stop()

        evaluated = self._task.evaluate(train_state.variables, self._mesh, should_stop)
        metrics = evaluated.metrics
        epoch = -(-done // self._task.steps_per_epoch)
        if writer is not None:
            if evaluated.findings:
                findings.write(self._workdir, done, evaluated.findings)
            writer.write(done, {"epoch": epoch, **metrics})
            self._table.add(epoch, self._task.table(metrics))
        return metrics

    # ---- End ----

    def _nonfinite_error(self, broken: int) -> NonFiniteError:
        self._checkpoints.wait()
        latest = self._checkpoints.latest()
        if latest is None:
            good, start = "No checkpoint was written before it.", "starts afresh"
        else:
            good = f"The last good checkpoint is {self._checkpoints.path(latest)} (step {latest})."
            start = "goes on from there"
        return NonFiniteError(
            f"Loss, gradient or running statistics were not finite in step {broken} (batch {broken - 1}, counted from "
            f"0). {good} Try a lower config.optimizer.learning_rate, now {self._config.optimizer.learning_rate}: the "
            f"command with it {start}."
        )

    def _memory_error(self, error: jax.errors.JaxRuntimeError) -> UserError:
        return UserError(
            f"The devices' memory does not hold this run: {str(error).splitlines()[0]}\nLower config.batch.size (now "
            f"{self._config.batch.size}) or, if it happened in an evaluation, config.eval_batch_size (now "
            f"{self._config.eval_batch_size}); or use more devices."
        )

    def _space_error(self, error: OSError) -> SaveError:
        free = disk_space.readable(disk_space.free_bytes(self._workdir))
        return SaveError(
            f"{self._workdir} cannot be written to, as the disk or the quota is full: {error}. {free} are free. Make "
            "room; then the same command goes on from the last checkpoint."
        )

    def _finish(self, log: TrainingLog) -> dict[str, Any]:
        self._signals.ending()
        self._watch.alive("waiting for the last checkpoint to be written")
        self._checkpoints.wait()
        best = self._checkpoints.best()
        best_metrics = None if best is None else self._checkpoints.metrics(best)
        result = {
            "config": self._record["config"],
            "steps": self._total_steps,
            "metrics": self._metrics,
            "selection_metric": self._task.selection_metric,
            "best": {"step": best, "metrics": best_metrics},
            "throughput": log.throughput()
            | {
                "devices": self._mesh.size,
                "device_kind": self._mesh.devices.flat[0].device_kind,
                "hosts": jax.process_count(),
            },
            "memory": memory.measure(),
            "versions": self._record["versions"],
        }
        self._watch.alive("writing the summary and the report")
        if self._is_first_host:
            logging.info("Summary: %s", summary.write(self._workdir, result))
            _report(self._task, self._workdir)
        return result


def _report(task: Task, workdir: Path) -> None:
    page = task.report(workdir)
    summary.reported(workdir)
    if page is not None:
        logging.info("Report: %s", page)
