"""Several processes that train one run: alike with a single one, stopped together, gone on with by fewer and more."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.faults import moments, same_end, topologies
from tests.faults.outcome import Case, Lost
from tests.faults.signals import STOPPED, require_stopped
from tests.faults.stage import Stage
from tests.faults.tiny_city import STEPS_PER_EPOCH
from tests.faults.trainer import DEVICES, Run


def cases(stage: Stage) -> Iterator[Case]:
    """Of 2 and 4 processes."""
    yield _handed_on(stage)
    if not stage.short:
        yield _four(stage)
        yield _one_killed(stage)


def start(stage: Stage, workdir: Path, processes: int, devices: int) -> list[Run]:
    """Starts the processes of one run, each with its share of the devices."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    flags = [f"--coordinator_address=localhost:{port}", f"--num_processes={processes}"]
    return [
        stage.trainer.train(workdir, *flags, f"--process_id={number}", devices=devices // processes)
        for number in range(processes)
    ]


def _handed_on(stage: Stage) -> Case:
    """Two processes, SIGTERM to one of them, then a single process with as many devices, SIGTERM, then two again."""

    def do(folder: Path) -> None:
        first, second = start(stage, folder / "run", 2, DEVICES)
        moments.training(3).wait(first)
        second.process.send_signal(signal.SIGTERM)
        require_together(first, second)
        run = stage.trainer.train(folder / "run")
        if not stage.short:
            moments.training(STEPS_PER_EPOCH + 2).wait(run)
            run.process.send_signal(signal.SIGTERM)
            require_stopped(run, signal.SIGTERM)
            for run in start(stage, folder / "run", 2, DEVICES):
                run.require_end(0)
        run.require_end(0)
        same_end.require(folder / "run", stage.unbroken, stops=1 if stage.short else 2)

    back = "" if stage.short else ", SIGTERM, and by 2 again"
    return Case("hosts", f"2 processes, SIGTERM to one; gone on with by 1{back}", do, 2 if stage.short else 4)


def _four(stage: Stage) -> Case:
    def do(folder: Path) -> None:
        for run in start(stage, folder / "run", 4, 4):
            run.require_end(0)
        stage.trainer.train(folder / "alone", devices=4).require_end(0)
        topologies.require_close(folder / "run", folder / "alone")

    return Case("hosts", "4 processes and 1 with 4 devices", do)


def _one_killed(stage: Stage) -> Case:
    """The others cannot go on, so they must end; all of them are then started again."""

    def do(folder: Path) -> None:
        first, second = start(stage, folder / "run", 2, DEVICES)
        moments.training(STEPS_PER_EPOCH + 2).wait(first)
        second.process.send_signal(signal.SIGKILL)
        if first.end() == 0:
            raise Lost("the first process went on without the second one")
        for run in start(stage, folder / "run", 2, DEVICES):
            run.require_end(0)
        same_end.require(folder / "run", stage.unbroken)

    return Case("hosts", "2 processes, SIGKILL to one; both started again", do)


def require_together(first: Run, second: Run) -> None:
    """Waits until both have stopped for a signal to the second one.

    Raises:
      Lost: one has not, or not as it should.
    """
    first.require_end(STOPPED, "Stopped by a signal to another host after step ", "To go on:")
    second.require_end(STOPPED)
