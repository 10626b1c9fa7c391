"""SIGTERM and SIGINT while a run compiles, trains, evaluates and saves; and a second signal soon after the first."""

import random
import re
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.faults import moments, same_end
from tests.faults.moments import Moment
from tests.faults.outcome import Case, Lost
from tests.faults.stage import Stage
from tests.faults.tiny_city import STEPS, STEPS_PER_EPOCH
from tests.faults.trainer import Run

STOPPED = 75
# "Ends at once": what a process needs to be scheduled on a busy machine.
_AT_ONCE_S = 2.0


def cases(stage: Stage) -> Iterator[Case]:
    """Runs that are stopped several times, each time gone on with by the command that they print."""
    choice = random.Random(f"{stage.seed}/signals")
    training = moments.a_step(choice, 1, STEPS_PER_EPOCH - 1)
    if stage.short:
        yield _stops(stage, [(signal.SIGTERM, training)])
        return
    later = moments.a_step(choice, STEPS_PER_EPOCH + 1, STEPS - 3)
    first, second = (moments.evaluating(epoch, stage.timeline.evaluation / 3) for epoch in (1, 2))
    compiling = moments.starting_to_train(stage.timeline.compilation / 3)
    for one, other in ((signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)):
        yield _stops(stage, [(one, compiling), (other, training), (one, first), (other, moments.saving(12))])
        yield _stops(stage, [(one, training), (other, moments.saving(4)), (one, later), (other, second)])
        yield _reporting(stage, one)
    yield _preparing(stage)
    yield _second(stage, (signal.SIGTERM, signal.SIGTERM), pause=1.0)
    yield _second(stage, (signal.SIGINT, signal.SIGTERM), pause=0.0)


def resume_command(log: str) -> str:
    """The command that a stopped run prints.

    Raises:
      Lost: it prints none.
    """
    found = re.search(r"To go on:\n  (.+)\n", log)
    if found is None:
        raise Lost(f"no command to go on with in the log, which ends:\n{log[-1000:]}")
    return found[1]


def require_stopped(run: Run, signum: signal.Signals) -> str:
    """Waits for the end of a stopped run; returns the command that goes on.

    Raises:
      Lost: another exit code, no checkpoint where it says, or no command.
    """
    log = run.require_end(STOPPED, f"Stopped by {signum.name} after step ")
    saved = re.search(r"saved in (.+?)\. To go on", log)
    if saved is None or not Path(saved[1]).is_dir():
        raise Lost(f"no checkpoint where the message says; the log ends:\n{run.tail()}")
    return resume_command(log)


def _stops(stage: Stage, stops: Sequence[tuple[signal.Signals, Moment]]) -> Case:
    def do(folder: Path) -> None:
        run = stage.trainer.train(folder / "run")
        for signum, moment in stops:
            moment.wait(run)
            run.process.send_signal(signum)
            command = require_stopped(run, signum)
            run = stage.trainer.start(["/bin/sh", "-c", f"exec {command}"], folder / "run")
        run.require_end(0)
        same_end.require(folder / "run", stage.unbroken, stops=len(stops))

    return Case("signals", "; ".join(f"{signum.name} {moment.name}" for signum, moment in stops), do, len(stops))


def _preparing(stage: Stage) -> Case:
    def do(folder: Path) -> None:
        run = stage.trainer.train(folder / "run", f"--config.data.data_dir={folder / 'data'}")
        moments.preparing(1.0).wait(run)
        run.process.send_signal(signal.SIGTERM)
        log = run.require_end(STOPPED, "Stopped by SIGTERM before training began")
        stage.trainer.start(["/bin/sh", "-c", f"exec {resume_command(log)}"], folder / "run").require_end(0)
        same_end.require(folder / "run", stage.unbroken)

    return Case("signals", "SIGTERM preparing data", do)


def _reporting(stage: Stage, signum: signal.Signals) -> Case:
    def do(folder: Path) -> None:
        run = stage.trainer.train(folder / "run")
        moments.reporting().wait(run)
        run.process.send_signal(signum)
        run.require_end(0)  # the end is nearer than a stop
        same_end.require(folder / "run", stage.unbroken)

    return Case("signals", f"{signum.name} reporting", do)


def _second(stage: Stage, pair: tuple[signal.Signals, signal.Signals], pause: float) -> Case:
    """Both while the second program is compiled, for which the first signal has to wait."""

    def do(folder: Path) -> None:
        run = stage.trainer.train(folder / "run")
        moments.evaluated(1).wait(run)
        last = max(same_end.steps(folder / "run"))
        run.process.send_signal(pair[0])
        time.sleep(pause)
        run.process.send_signal(pair[1])
        begin = time.monotonic()
        run.require_end(128 + pair[1], " again: ended at once")
        seconds = time.monotonic() - begin
        if seconds > _AT_ONCE_S:
            raise Lost(f"ended {seconds:.1f} s after the second signal")
        if last not in same_end.steps(folder / "run"):
            raise Lost(f"the checkpoint of step {last} is gone")
        stage.trainer.train(folder / "run").require_end(0, "Going on from step ")
        same_end.require(folder / "run", stage.unbroken)

    return Case("signals", f"{pair[0].name}, {pair[1].name} {pause:.0f} s later, compiling", do, 2)
