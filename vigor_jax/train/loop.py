"""From a config to a trained and evaluated model in a workdir: set-up, resume, the loop, the end."""

import contextlib
from pathlib import Path
from typing import Any, NoReturn

import jax
from absl import logging

from vigor_jax import config as configs
from vigor_jax import tasks
from vigor_jax.config import Config
from vigor_jax.errors import Preempted, UserError
from vigor_jax.input.device_feed import DeviceFeed
from vigor_jax.parallel import hosts
from vigor_jax.parallel.mesh import data_mesh, require_divisible
from vigor_jax.tasks.task import Task
from vigor_jax.train import memory, optimizer, resume, step
from vigor_jax.train.checkpoint import Checkpoints, Restored
from vigor_jax.train.compiled_step import CompiledStep, compile_on_all_hosts
from vigor_jax.train.evaluator import Evaluator
from vigor_jax.train.host_timings import HostTimings
from vigor_jax.train.log_interval import IntervalMeter
from vigor_jax.train.preemption import StopSignals, resume_command
from vigor_jax.train.profile import Profile
from vigor_jax.train.progress import Progress, StartUpTimes
from vigor_jax.train.run_context import RunContext
from vigor_jax.train.run_errors import explained
from vigor_jax.train.stall_watch import StallWatch
from vigor_jax.train.state import TrainState, unpadded_rows
from vigor_jax.train.training_log import TrainingLog
from vigor_jax.workdir import checkpoint_files, provenance, summary
from vigor_jax.workdir.metrics_log import MetricWriter


def train_and_evaluate(
    config: Config, workdir: str | Path, *, allow_changes: bool = False, profile: bool = False
) -> dict[str, Any]:
    """Trains what `config` says, or goes on with what `workdir` holds, and evaluates it.

    Called by every host with the same arguments; the workdir is one that all of them see.

    Args:
      config: of `vigor_jax.tasks.parse`.
      workdir: made if missing; gets checkpoints, metrics and the summary.
      allow_changes: go on although the seed, the batches or the data are others than before, with a warning.
      profile: trace some steps of this start into the workdir (`train.profile`).

    Returns:
      What `summary.json` holds: config, resolved, steps, metrics, best, throughput, memory, versions.

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
    workdir = Path(workdir).absolute()
    with StopSignals() as signals, contextlib.ExitStack() as stack:
        start_up, mesh = StartUpTimes(), data_mesh()
        hosts.require_same(
            {
                "--workdir": str(workdir),
                "--allow_changes": allow_changes,
                "--profile": profile,
                "config": configs.to_dict(config),
                "version of": provenance.versions(),
            }
        )
        hosts.together(lambda: require_divisible(config.batch.size, mesh, config.micro_batch_size))
        complete = hosts.from_first(lambda: summary.finished(workdir, config))
        if complete is not None:
            logging.info("This run is complete: %s", workdir / summary.FILE_NAME)
            if profile:
                _warn_of_no_step()
            if hosts.is_first() and summary.report_is_due(workdir):
                with contextlib.closing(tasks.create(config, complete.get("resolved", {}))) as task:
                    _report(task, workdir)
            return complete
        resolved = hosts.from_first(lambda: provenance.resolved(workdir))
        # Host 0 prepares the data; the others find it, or prepare their own where they share no disk.
        task = stack.enter_context(contextlib.closing(hosts.first_then_others(lambda: tasks.create(config, resolved))))
        hosts.require_same({"fingerprint of": task.fingerprint})
        hosts.together(lambda: _make(workdir))
        hosts.require_shared(workdir)
        signals.defer(mesh)
        with (
            StallWatch(config.stall_seconds) as watch,
            Checkpoints(
                workdir / checkpoint_files.FOLDER,
                newest=config.checkpoints_to_keep,
                selection_metric=task.selection_metric,
                unpadded_rows=unpadded_rows(task, optimizer.create(config.optimizer)),
            ) as checkpoints,
        ):
            run = RunContext(config, workdir, task, mesh, checkpoints, watch, signals)
            optimizer.require_fits(config.optimizer, run.total_steps, task.selection_metric)
            start_up.ended("data")
            with explained(run):
                begin = resume.begin(run, allow_changes=allow_changes)
                start_up.ended("state")
                metrics, throughput = _train(run, begin, start_up, profile=profile)
                return _finish(run, metrics, throughput)


def _make(workdir: Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be made or written to: {error}") from error


def _train(
    run: RunContext, begin: Restored, start_up: StartUpTimes, *, profile: bool
) -> tuple[dict[str, float], dict[str, Any]]:
    """Does every step that is left, with the evaluations and checkpoints between them.

    Returns:
      (Metrics of the last step, throughput of this start).
    """
    config, task, first, total = run.config, run.task, begin.step, run.total_steps
    _show_plan(run, first)
    if first == total and profile:
        _warn_of_no_step()
    schedule = optimizer.learning_rate(config.optimizer)
    update = CompiledStep(step.make(task, run.optimizer, schedule, config.seed, run.mesh))
    with (
        _writer(run, begin) as writer,
        Progress(total, first, show=hosts.is_first()) as progress,
        # Reads the first batches while the step is compiled.
        DeviceFeed(task.batches(first) if first < total else iter(()), run.mesh) as feed,
        Profile(run.workdir, first, total, wanted=profile, writes=hosts.is_first()) as tracer,
    ):
        evaluator = Evaluator(run, writer)
        timings = HostTimings(run.mesh) if jax.process_count() > 1 else None
        log = TrainingLog(task, config.batch.size, total, progress, writer, timings)
        meter = IntervalMeter(lambda: feed.wait_seconds, first)
        state, done, metrics = begin.state, first, begin.metrics
        if begin.interrupted:  # what was due then is due still
            evaluates, saves = _due(run, evaluator, done)
        else:
            evaluates, saves = done == total and metrics is None, False
        stops = False
        while True:
            # ---- Do not change the order: evaluate, save, next batch, step. ----
            # A checkpoint of n updates holds the metrics of that very state and what they decide of the learning rate,
            # so the evaluation comes before it; and the plan by which batch n is drawn, so it comes before step n + 1,
            # whose feedback changes the plan. A run that goes on from it evaluates nothing twice, and reads the batch
            # that an unbroken run would.
            if evaluates and not stops:
                progress.note("evaluating")
                metrics = evaluator.evaluate(state, done)
                stops = metrics is None
            if saves and not (evaluates and stops):  # a stop leaves an evaluation whole to the start that goes on
                progress.note("saving")
                state = evaluator.adjust_learning_rate(state, metrics, done)
                run.watch.alive(f"saving the checkpoint of step {done}")
                run.checkpoints.save(done, state, run.provenance, metrics, plan=task.plan_state())
                stops = done < total and run.signals.should_stop()
                meter.restart()
            if stops:
                progress.note("saving")
                _stop(run, state, done)
            if done == total:
                break
            run.watch.alive(f"waiting for the data of step {done + 1}")
            batch = next(feed)
            if not update.is_compiled_for(batch):
                start_up.ended("first batch")
                tracer.end(meter.paused, f"the compilation of step {done + 1}")
                run.watch.alive(f"compiling step {done + 1}")
                with meter.paused():
                    compile_on_all_hosts(update, state, batch, run)
                start_up.ended("program")
            tracer.before(done + 1, meter.paused)
            run.watch.alive(f"running step {done + 1}")
            # A number moved between host and devices unasked may have one wait for the other, so it is an error here.
            with tracer.step(done + 1), jax.transfer_guard("disallow"):
                state, figures, first_nonfinite_step, feedback = update(state, batch)
                task.take_feedback(done, feedback)
                meter.add(figures, first_nonfinite_step)
            done, metrics = done + 1, None
            # ---- What is to be told of the step, and what is due after it. ----
            start_up.tell("first step")
            progress.advance()
            log.poll()
            stops, evaluates, saves = run.signals.should_stop(), *_due(run, evaluator, done)
            if saves or stops:
                # A checkpoint ends the interval too, so that the intervals of a resumed run are those of an unbroken
                # one. Its figures are waited for: nothing non-finite is evaluated or saved.
                meter.finish()
                log.put(meter.close())
                log.flush()
                tracer.end(meter.paused, f"the checkpoint of step {done}")
            elif done % config.log_every_steps == 0 or done % task.steps_per_epoch == 0:
                log.put(meter.close())  # at an epoch's end too, as from there on other losses may be logged
        run.watch.alive("ending the last step")
    return metrics, log.throughput()


def _due(run: RunContext, evaluator: Evaluator, done: int) -> tuple[bool, bool]:
    """Whether (an evaluation, a checkpoint) is due after `done` updates."""
    evaluates = evaluator.is_due(done)
    return evaluates, evaluates or done % run.config.checkpoint_every_steps == 0


def _stop(run: RunContext, state: TrainState, done: int) -> NoReturn:
    run.watch.alive(f"saving the checkpoint of step {done}, where the run was stopped")
    run.checkpoints.save_interrupted(done, state, run.provenance, plan=run.task.plan_state())
    stopped = f"Stopped by {run.signals.reason} after step {done} of {run.total_steps}"
    if not hosts.is_first():
        raise Preempted(f"{stopped}, with all other hosts.")
    raise Preempted(f"{stopped}, saved in {run.checkpoints.path(done)}. To go on:\n  {resume_command()}")


def _finish(run: RunContext, metrics: dict[str, float], throughput: dict[str, Any]) -> dict[str, Any]:
    """Waits for the checkpoint under way; the first host writes the summary and the report."""
    run.signals.ending()
    run.watch.alive("waiting for the last checkpoint to be written")
    run.checkpoints.wait()
    best = run.checkpoints.best()
    devices = {
        "devices": run.mesh.size,
        "device_kind": run.mesh.devices.flat[0].device_kind,
        "hosts": jax.process_count(),
    }
    result = {
        "config": run.provenance["config"],
        "resolved": run.provenance["resolved"],
        "steps": run.total_steps,
        "metrics": metrics,
        "selection_metric": run.task.selection_metric,
        "best": {"step": best, "metrics": None if best is None else run.checkpoints.metrics(best)},
        "throughput": throughput | devices,
        "memory": memory.measure(),
        "versions": run.provenance["versions"],
    }
    run.watch.alive("writing the summary and the report")
    if hosts.is_first():
        logging.info("Summary: %s", summary.write(run.workdir, result))
        _report(run.task, run.workdir)
    return result


def _report(task: Task, workdir: Path) -> None:
    page = task.report(workdir)
    summary.reported(workdir)
    if page is not None:
        logging.info("Report: %s", page)


def _writer(run: RunContext, begin: Restored) -> contextlib.AbstractContextManager[MetricWriter | None]:
    if not hosts.is_first():
        return contextlib.nullcontext()
    return MetricWriter(run.workdir, begin.step, evaluates_again=begin.metrics is None)


def _show_plan(run: RunContext, first: int) -> None:
    if not hosts.is_first():
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
