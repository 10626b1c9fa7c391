"""A run that goes on with another number of devices."""

import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults import moments, same_end
from tests.faults.outcome import Case, Lost
from tests.faults.signals import require_stopped
from tests.faults.stage import Stage, copy_run
from tests.faults.tiny_city import STEPS, STEPS_PER_EPOCH
from tests.faults.trainer import DEVICES

_LOSS = "train/loss"
# Sums in another order differ in their last bits, which Adam and the steps after it carry on.
_TOLERANCE = 1e-3
_ROUNDING = 1e-6


def cases(stage: Stage) -> Iterator[Case]:
    """The figures of one checkpoint, and a run that changes its devices again and again."""
    if stage.short:
        yield _evaluates_alike(stage, DEVICES, (1,))
        return
    yield _evaluates_alike(stage, 8, (8, 4, 1))
    yield _goes_round(stage, (8, 4, 1, 8))


def _evaluates_alike(stage: Stage, written_on: int, restored_on: tuple[int, ...]) -> Case:
    """A run stopped while it evaluates leaves the evaluation to the start that goes on, on whatever devices."""

    def do(folder: Path) -> None:
        _stopped_at_epoch_1(stage, folder / "stopped", written_on)
        wanted = None if written_on != DEVICES else evaluation(stage.unbroken, 1)
        for devices in restored_on:
            workdir = copy_run(folder / "stopped", folder / f"on_{devices}")
            stage.trainer.train(workdir, "--config.epochs=1", devices=devices).require_end(0)
            found = evaluation(workdir, 1)
            wanted = wanted or found
            for name in wanted:
                if not _same_figure(name, found[name], wanted[name]):
                    raise Lost(f"evaluated on {devices} devices: {name} {found[name]} instead of {wanted[name]}")

    listed = ", ".join(map(str, restored_on))
    return Case("topologies", f"a checkpoint of {written_on} devices evaluated on {listed}", do, len(restored_on))


def _goes_round(stage: Stage, devices: tuple[int, ...]) -> Case:
    def do(folder: Path) -> None:
        _stopped_at_epoch_1(stage, folder / "run", devices[0])
        alone = copy_run(folder / "run", folder / "alone")
        stage.trainer.train(alone, devices=devices[0]).require_end(0)
        for number, step in zip(devices[1:-1], (STEPS_PER_EPOCH + 3, STEPS_PER_EPOCH + 6), strict=True):
            run = stage.trainer.train(folder / "run", devices=number)
            moments.training(step).wait(run)
            run.process.send_signal(signal.SIGTERM)
            require_stopped(run, signal.SIGTERM)
        stage.trainer.train(folder / "run", devices=devices[-1]).require_end(0)
        require_close(folder / "run", alone)

    return Case("topologies", f"trained on {' -> '.join(map(str, devices))} devices", do, len(devices) - 1)


def require_close(workdir: Path, other: Path) -> None:
    """Compares a finished run with one whose sums were in another order.

    Raises:
      Lost: other steps, other mined tiles in the pool, or losses further apart than rounding makes them.
    """
    ours, theirs = ({row["step"]: row for row in same_end.history(each) if _LOSS in row} for each in (workdir, other))
    if max(ours) != STEPS:
        raise Lost(f"it ends at step {max(ours)} instead of {STEPS}")
    for step in theirs.keys() & ours.keys():
        if step - 1 in ours:  # what stopped it divided this row
            continue
        mine, his = ours[step][_LOSS], theirs[step][_LOSS]
        if not math.isclose(mine, his, rel_tol=_TOLERANCE):
            raise Lost(f"the loss of step {step} is {mine} instead of {his}")
    mine, his = (same_end.arrays(each, STEPS) for each in (workdir, other))
    tiles = "state/carry/pool/tile"
    if sorted(mine[tiles].ravel()) != sorted(his[tiles].ravel()):
        raise Lost("the pool holds other tiles")


def evaluation(workdir: Path, epoch: int) -> dict[str, Any]:
    """The figures after an epoch."""
    (row,) = (row for row in same_end.history(workdir) if row.get("epoch") == epoch)
    return row


def _same_figure(name: str, mine: float, other: float) -> bool:
    """Shares exactly; metres, which come from the offset head, up to the rounding of float32."""
    return math.isclose(mine, other, rel_tol=_ROUNDING) if name.endswith("_m") else mine == other


def _stopped_at_epoch_1(stage: Stage, workdir: Path, devices: int) -> None:
    run = stage.trainer.train(workdir, devices=devices)
    moments.evaluating(1).wait(run)
    run.process.send_signal(signal.SIGTERM)
    require_stopped(run, signal.SIGTERM)
    if same_end.history(workdir)[-1]["step"] != STEPS_PER_EPOCH:
        raise Lost("it did not stop after the epoch's last step")
