"""What every case needs: who starts processes, the run that nothing was done to, and the choices of the user."""

import dataclasses
import shutil
from pathlib import Path

from tests.faults import moments
from tests.faults.moments import Timeline
from tests.faults.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Stage:
    """The surroundings of the cases.

    Attributes:
      trainer: starts processes.
      unbroken: the workdir of a finished run, to compare with and to copy.
      timeline: its own.
      seed: of the moments and places chosen.
      short: few cases.
    """

    trainer: Trainer
    unbroken: Path
    timeline: Timeline
    seed: int
    short: bool


def prepare(trainer: Trainer, folder: Path, seed: int, short: bool) -> Stage:
    """Renders the data, compiles the programs, and trains unbroken.

    Raises:
      Lost: that does not work, so there is nothing to break.
    """
    if not short:
        # The first start renders and compiles, so it does not tell how long things take.
        trainer.train(folder / "first").require_end(0)
    return Stage(trainer, folder / "unbroken", moments.measure(trainer.train(folder / "unbroken")), seed, short)


def copy_run(source: Path, target: Path, *, finished: bool = False) -> Path:
    """Copies a workdir; unless `finished`, as if it had ended before its summary. Returns the target."""
    shutil.copytree(source, target)
    if not finished:
        (target / "summary.json").unlink(missing_ok=True)
        (target / "report.html").unlink(missing_ok=True)
    return target
