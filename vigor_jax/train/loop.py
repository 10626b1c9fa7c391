"""From a config to a trained and evaluated model in a workdir."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import jax
from absl import logging

from vigor_jax import config as configs
from vigor_jax import tasks
from vigor_jax.config import Config
from vigor_jax.errors import UserError
from vigor_jax.parallel import hosts
from vigor_jax.parallel.mesh import data_mesh, require_divisible
from vigor_jax.train import ending, optimizer, record, resume
from vigor_jax.train.checkpoint import Checkpoints, Restored
from vigor_jax.train.host_spread import HostSpread
from vigor_jax.train.pauses import Pauses
from vigor_jax.train.preemption import StopSignals
from vigor_jax.train.progress import Progress
from vigor_jax.train.run import Run
from vigor_jax.train.run_errors import explained
from vigor_jax.train.stall_watch import StallWatch
from vigor_jax.train.start_up import StartUp
from vigor_jax.train.training import train
from vigor_jax.train.training_log import TrainingLog
from vigor_jax.workdir import checkpoint_files, summary
from vigor_jax.workdir.metrics_log import MetricWriter


def train_and_evaluate(
    config: Config, workdir: str | Path, *, allow_changes: bool = False, profile: bool = False
) -> dict[str, Any]:
    """Trains what `config` says, or goes on with what `workdir` holds, and evaluates it.

    Called by every host with the same arguments; the workdir is one that all of them see.

    Args:
      config: of `vigor_jax.config.parse`.
      workdir: made if missing; gets checkpoints, metrics and the summary.
      allow_changes: go on although the seed, the batches or the data are others than before, with a warning.
      profile: trace some steps of this start into the workdir (`train.profile`).

    Returns:
      What `summary.json` holds: config, steps, metrics, best, throughput, memory, versions.

    Raises:
      ConfigError: a value that cannot work here, such as a batch that the devices do not divide.
      ResumeError: the workdir holds a run of another model, seed, batch or data, or all its checkpoints are damaged.
      SaveError: a checkpoint could not be written, for want of space perhaps.
      Preempted: the run was stopped by SIGTERM or SIGINT, and saved.
      NonFiniteError: loss or gradient were not finite.
      TooLittleMemory: the devices have too little for this run.
      HostsDiffer: they were not started alike, or do not share the workdir.
      StoppedTogether: another host failed while all got ready.
      UserError: the workdir cannot be written to.
    """
    with StopSignals() as signals:
        return _train_and_evaluate(config, Path(workdir).absolute(), signals, allow_changes, profile)


def _train_and_evaluate(
    config: Config, workdir: Path, signals: StopSignals, allow_changes: bool, profile: bool
) -> dict[str, Any]:
    start_up = StartUp()
    mesh = data_mesh()
    hosts.require_same(
        {
            "--workdir": str(workdir),
            "--allow_changes": allow_changes,
            "--profile": profile,
            "config": configs.to_dict(config),
            "version of": record.versions(),
        }
    )
    hosts.together(lambda: require_divisible(config.batch.size, mesh))
    complete = hosts.from_first(lambda: summary.finished(workdir, config))
    if complete is not None:
        logging.info("This run is complete: %s", workdir / summary.FILE_NAME)
        if profile:
            _warn_of_no_step()
        if hosts.is_first() and summary.report_is_due(workdir):
            ending.report(tasks.create(config), workdir)
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
            workdir / checkpoint_files.FOLDER, newest=config.checkpoints_to_keep, selection_metric=task.selection_metric
        ) as checkpoints,
    ):
        run = Run.of(config, workdir, task, mesh, checkpoints, watch, signals)
        optimizer.require_reaches(config.optimizer, run.total_steps)
        start_up.ended("data")
        with explained(run):
            return _go_through(run, start_up, allow_changes=allow_changes, profile=profile)


def _make(workdir: Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be made or written to: {error}") from error


def _go_through(run: Run, start_up: StartUp, *, allow_changes: bool, profile: bool) -> dict[str, Any]:
    """Goes on from the newest checkpoint, if there is one, and to the end."""
    begin = resume.begin(run, allow_changes=allow_changes)
    first, total = begin.step, run.total_steps
    if first == total and not hosts.from_first(lambda: resume.last_evaluation_stands(run, begin)):
        begin = dataclasses.replace(begin, metrics=None)
    start_up.ended("state")
    _show_plan(run, first)
    with (
        _writer(run, begin) as writer,
        Progress(total, first, show=run.is_first_host) as progress,
    ):
        pauses = Pauses(run, progress, writer, begin.metrics)
        spread = HostSpread(run.mesh) if jax.process_count() > 1 else None
        log = TrainingLog(run.task, run.config.batch.size, total, progress, writer, spread)
        state = pauses.after(begin.state, first, stops=False) if begin.interrupted else begin.state
        if first < total:
            train(run, state, first, log, pauses, progress, start_up, profile=profile)
        else:
            if profile:
                _warn_of_no_step()
            if pauses.metrics is None:  # its evaluation, if there was one, does not stand
                pauses.evaluate_now(state, first)
    return ending.finish(run, pauses.metrics, log.throughput())


def _writer(run: Run, begin: Restored) -> contextlib.AbstractContextManager[MetricWriter | None]:
    if not run.is_first_host:
        return contextlib.nullcontext()
    return MetricWriter(run.workdir, begin.step, evaluates_again=begin.metrics is None)


def _show_plan(run: Run, first: int) -> None:
    if not run.is_first_host:
        return
    logging.info(
        "%s: %d steps of %d examples, %d an epoch, on %d x %s; workdir %s",
        run.config.name,
        run.total_steps,
        run.config.batch.size,
        run.task.steps_per_epoch,
        run.mesh.size,
        run.mesh.devices.flat[0].device_kind,
        run.workdir,
    )
    if first:
        logging.info("Going on from step %d.", first)


def _warn_of_no_step() -> None:
    logging.warning("--profile: no step of the run is left that could be traced. More config.epochs have more.")
