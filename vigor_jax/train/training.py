"""The steps of a start, from the first to the last of the run."""

import jax
from absl import logging

from vigor_jax.input.device_feed import DeviceFeed
from vigor_jax.parallel import hosts
from vigor_jax.parallel.mesh import AXIS
from vigor_jax.train import memory, optimizer, step, too_little_memory
from vigor_jax.train.compiled_step import CompiledStep
from vigor_jax.train.interval import IntervalMeter
from vigor_jax.train.pauses import Pauses
from vigor_jax.train.profile import Profile
from vigor_jax.train.progress import Progress
from vigor_jax.train.run import Run
from vigor_jax.train.start_up import StartUp
from vigor_jax.train.state import TrainState
from vigor_jax.train.training_log import TrainingLog


def train(
    run: Run,
    state: TrainState,
    first: int,
    log: TrainingLog,
    pauses: Pauses,
    progress: Progress,
    start_up: StartUp,
    *,
    profile: bool = False,
) -> None:
    """Does every step that is left, with what is due between them.

    Args:
      run: this start.
      state: after `first` updates; it is donated.
      first: updates done, fewer than the run has.
      log: takes the figures of the steps.
      pauses: evaluates, saves and stops.
      progress: is shown every step.
      start_up: is told when the first step is done.
      profile: trace some steps.

    Raises:
      Preempted: the run was asked to end, and all is saved.
      NonFiniteStep: in a step.
      TooLittleMemory: a step cannot fit.
    """
    config = run.config
    schedule = optimizer.learning_rate(config.optimizer)
    update = CompiledStep(step.make(run.task, run.optimizer, schedule, config.seed, run.mesh))
    with (
        # Reads the first batches while the step is compiled.
        DeviceFeed(run.task.batches(first), run.mesh, AXIS) as feed,
        Profile(run.workdir, first, run.total_steps, wanted=profile, writes=run.is_first_host) as tracer,
    ):
        meter = IntervalMeter(lambda: feed.wait_seconds, first)
        run.watch.alive(f"waiting for the data of step {first + 1}")
        for done, batch in zip(range(first + 1, run.total_steps + 1), feed, strict=False):
            if not update.is_compiled_for(batch):
                start_up.ended("first batch")
                tracer.end(meter.paused, f"the compilation of step {done}")
                with meter.paused():
                    _compile(run, update, state, batch, done)
                start_up.ended("program")
            tracer.before(done, meter.paused)
            run.watch.alive(f"running step {done}")
            with tracer.step(done):
                state, metrics, first_nonfinite_step, feedback = update(state, batch)
                run.task.take_feedback(done - 1, feedback)
                meter.add(metrics, first_nonfinite_step)
            start_up.tell("first step")
            progress.advance()
            log.poll()
            stops, saves = run.signals.should_stop(), pauses.is_due(done)
            if saves or stops:
                meter.finish()
            if saves or stops or done % config.log_every_steps == 0 or done % run.task.steps_per_epoch == 0:
                # A checkpoint ends the interval too, so that the intervals of a resumed run are those of an
                # unbroken one; and so does an epoch, from which on other losses may be logged.
                log.put(meter.close())
            if saves or stops:
                log.flush()  # nothing non-finite is evaluated or saved
                tracer.end(meter.paused, f"the checkpoint of step {done}")
                state = pauses.after(state, done, stops)
                meter.restart()
            run.watch.alive(f"waiting for the data of step {done + 1}")
        run.watch.alive("ending the last step")
    log.flush()


def _compile(run: Run, update: CompiledStep, state: TrainState, batch: dict[str, jax.Array], done: int) -> None:
    """Compiles on all hosts, none of which shall wait in a step for one that cannot do it."""
    run.watch.alive(f"compiling step {done}")

    def compile() -> None:
        made = update.compile(state, batch)
        what = "Found the step compiled" if made.was_kept else "Compiled the step"
        logging.info("%s in %.1f s, after %.1f s of tracing it.", what, made.compile_seconds, made.trace_seconds)
        if made.memory is None:
            return
        limit = memory.limit(run.mesh.local_devices)
        logging.info("%s", made.memory.sentence(limit))
        too_little_memory.require_room(made.memory, limit, run.config)

    hosts.together(compile)
