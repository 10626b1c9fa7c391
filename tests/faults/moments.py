"""Moments in the life of a run, found by what it has written so far."""

import dataclasses
import random
import time
from collections.abc import Callable

from tests.faults.tiny_city import STEPS, STEPS_PER_EPOCH
from tests.faults.trainer import Run, rows


@dataclasses.dataclass(frozen=True)
class Moment:
    """A moment; `wait` returns when a run is there, or raises `TooLate`."""

    name: str
    wait: Callable[[Run], None]


@dataclasses.dataclass(frozen=True)
class Timeline:
    """Seconds that an unbroken run took."""

    start: float  # until it began to train
    compilation: float  # until it had done some steps
    evaluation: float
    whole: float


def measure(run: Run) -> Timeline:
    """Watches a run from its start to its end."""
    begin = time.monotonic()
    seconds = []
    for moment in (starting_to_train(), training(1), evaluating(1), evaluated(1)):
        moment.wait(run)
        seconds.append(time.monotonic() - begin)
    run.require_end(0)
    return Timeline(seconds[0], seconds[1] - seconds[0], seconds[3] - seconds[2], time.monotonic() - begin)


def after(seconds: float) -> Moment:
    """So long after the start."""

    def wait(run: Run) -> None:
        end = time.monotonic() + seconds
        run.wait_until(lambda: time.monotonic() >= end, f"{seconds:.1f} s had passed")

    return Moment(f"{seconds:.1f} s after the start", wait)


def starting_to_train(seconds: float = 0.0) -> Moment:
    """So long after a run said what it will do: while it compiles."""

    def wait(run: Run) -> None:
        run.wait_until(lambda: "steps of" in run.log, "it began to train")
        after(seconds).wait(run)

    return Moment("compiling", wait)


def preparing(seconds: float) -> Moment:
    """So long after a run began to render its data."""

    def wait(run: Run) -> None:
        run.wait_until(lambda: "preparing " in run.log, "it prepared its data")
        after(seconds).wait(run)

    return Moment("preparing data", wait)


def training(step: int) -> Moment:
    """At the first row of the history that has got as far as a step."""
    name = f"training, step {step}"
    return Moment(name, lambda run: run.wait_until(lambda: _last_step(run) >= step, f"step {step}"))


def evaluating(epoch: int, seconds: float = 0.0) -> Moment:
    """So long after the last step of an epoch was logged, which is followed by the evaluation."""

    def wait(run: Run) -> None:
        training(epoch * STEPS_PER_EPOCH).wait(run)
        after(seconds).wait(run)

    return Moment(f"evaluating epoch {epoch}", wait)


def evaluated(epoch: int) -> Moment:
    """When an evaluation is in the history."""

    def wait(run: Run) -> None:
        run.wait_until(lambda: any(row.get("epoch") == epoch for row in rows(run.workdir)), f"epoch {epoch} was done")

    return Moment(f"epoch {epoch} evaluated", wait)


def saving(step: int) -> Moment:
    """When the checkpoint of a step, or of a later one, has a folder but not its final name."""

    def begun(run: Run) -> bool:
        unfinished = (run.workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*")
        return any(int(path.name.split(".")[0]) >= step for path in unfinished)

    return Moment(f"saving step {step}", lambda run: run.wait_until(lambda: begun(run), f"step {step} was saved"))


def reporting() -> Moment:
    """When the summary is written and the report is not."""
    return Moment("reporting", lambda run: run.wait_until((run.workdir / "summary.json").exists, "the summary"))


def anywhere(timeline: Timeline, choice: random.Random) -> Moment:
    """At any time of the whole life of an unbroken run, all being equally likely."""
    return after(round(choice.uniform(0, timeline.whole), 1))


def a_step(choice: random.Random, first: int, last: int = STEPS) -> Moment:
    """At any step of a range."""
    return training(choice.randrange(first, last))


def _last_step(run: Run) -> int:
    return max((row["step"] for row in rows(run.workdir)), default=0)
