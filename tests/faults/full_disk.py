"""A disk that is full, or a file that may not grow, while a checkpoint is saved."""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.faults import moments, same_end
from tests.faults.outcome import Case, Lost
from tests.faults.stage import Stage
from tests.faults.trainer import Run

_LIMIT = 16 * 1024  # bytes a file; a checkpoint's are larger
_DISK_MB = 24  # holds the log and some checkpoints


def cases(stage: Stage) -> Iterator[Case]:
    """By a limit to the process everywhere; by a small file system of memory where this process may make one."""
    if stage.short:  # tests/train/test_checkpoint.py fills a disk too
        return
    yield _file_limit(stage)
    if os.geteuid() == 0:
        yield _small_disk(stage)


def _file_limit(stage: Stage) -> Case:
    def do(folder: Path) -> None:
        run = stage.trainer.train(folder / "run")
        moments.evaluated(1).wait(run)
        resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (_LIMIT, _LIMIT))
        _require_told_and_mended(stage, run)

    return Case("full_disk", f"no file may grow beyond {_LIMIT // 1024} KiB from epoch 1 on", do)


def _small_disk(stage: Stage) -> Case:
    def do(folder: Path) -> None:
        disk = folder / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "tmpfs", disk], check=True)
        try:
            run = stage.trainer.train(disk / "run")
            moments.evaluated(1).wait(run)
            ballast = disk / "ballast"
            ballast.write_bytes(bytes(shutil.disk_usage(disk).free - 64 * 1024))
            _require_told_and_mended(stage, run, ballast)
        finally:
            subprocess.run(["umount", disk], check=True)

    return Case("full_disk", "a file system of memory filled up after epoch 1", do)


def _require_told_and_mended(stage: Stage, run: Run, ballast: Path | None = None) -> None:
    log = run.require_end(2, "error: ", "the disk or the quota is full", "the same command goes on")
    good = [step for step in same_end.steps(run.workdir) if f"/{step}." in log]
    if not good:
        raise Lost(f"the checkpoint that the message names is not there; the log ends:\n{run.tail()}")
    if ballast is not None:
        ballast.unlink()
    stage.trainer.train(run.workdir).require_end(0, f"Going on from step {good[-1]}.")
    same_end.require(run.workdir, stage.unbroken)
