"""SIGKILL at random moments of the whole life of a run, which is started again until it is complete."""

import random
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.faults import moments, same_end
from tests.faults.moments import Moment
from tests.faults.outcome import Case, Lost
from tests.faults.stage import Stage
from tests.faults.tiny_city import STEPS, STEPS_PER_EPOCH
from tests.faults.trainer import TooLate


def cases(stage: Stage) -> Iterator[Case]:
    """Runs that are killed several times each."""
    choice = random.Random(f"{stage.seed}/kills")
    if stage.short:
        later = choice.choice([moments.evaluating(2, _part(stage, choice)), moments.saving(12)])
        yield _case(stage, [moments.a_step(choice, 1, STEPS_PER_EPOCH), later])
        return
    start = moments.after(round(choice.uniform(0, stage.timeline.start), 1))
    compiling = moments.starting_to_train(choice.uniform(0, stage.timeline.compilation))
    yield _case(
        stage,
        [
            start,
            compiling,
            moments.a_step(choice, 1, STEPS_PER_EPOCH),
            moments.evaluating(1, _part(stage, choice)),
            moments.saving(12),
        ],
    )
    yield _case(
        stage,
        [
            moments.saving(4),
            moments.a_step(choice, 5, STEPS_PER_EPOCH),
            moments.saving(STEPS_PER_EPOCH),
            moments.a_step(choice, STEPS_PER_EPOCH + 1),
            moments.evaluating(2, _part(stage, choice)),
        ],
    )
    yield _case(
        stage,
        [
            moments.a_step(choice, 1, STEPS_PER_EPOCH),
            compiling,
            moments.a_step(choice, STEPS_PER_EPOCH + 1),
            moments.saving(STEPS),
            moments.reporting(),
        ],
    )
    for _ in range(2):
        yield _case(stage, [moments.anywhere(stage.timeline, choice) for _ in range(4)])
    yield _case(stage, [moments.preparing(choice.uniform(0, 3))] * 2, own_data=True)


def _part(stage: Stage, choice: random.Random) -> float:
    return choice.uniform(0, stage.timeline.evaluation)


def _case(stage: Stage, at: Sequence[Moment], *, own_data: bool = False) -> Case:
    def do(folder: Path) -> int:
        done = 0
        flags = [f"--config.data.data_dir={folder / 'data'}"] if own_data else []
        for moment in at:
            run = stage.trainer.train(folder / "run", *flags)
            try:
                moment.wait(run)
            except TooLate:
                run.require_end(0)
                continue
            run.process.send_signal(signal.SIGKILL)
            code = run.end()
            if code == 0:  # it had just ended
                continue
            if code != -signal.SIGKILL:
                raise Lost(f"{moment.name}: exit code {code}; the log ends:\n{run.tail()}")
            done += 1
        stage.trainer.train(folder / "run", *flags).require_end(0)
        same_end.require(folder / "run", stage.unbroken)
        return done

    return Case("kills", f"SIGKILL {'; '.join(moment.name for moment in at)}", do, len(at))
