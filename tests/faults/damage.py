"""Each file of the newest checkpoint cut off, deleted, or with a flipped byte, one at a time."""

import random
from collections.abc import Iterator
from pathlib import Path

from tests.faults import same_end
from tests.faults.outcome import Case, Lost
from tests.faults.stage import Stage, copy_run
from tests.faults.tiny_city import STEPS

_KINDS = ("truncated", "deleted", "flipped")


def cases(stage: Stage) -> Iterator[Case]:
    """Of the checkpoint at the end of a copy of the unbroken run, which is then gone on with."""
    choice = random.Random(f"{stage.seed}/damage")
    newest = stage.unbroken / "checkpoints" / str(STEPS)
    files = sorted(path.relative_to(newest) for path in newest.rglob("*") if path.is_file())
    # Without these no array can be read, so every kind of damage must be recognised.
    data = [path for path in files if path.parts[:2] == ("state", "d")]
    vital = [max(data, key=lambda path: (newest / path).stat().st_size), Path("record/metadata")]
    if stage.short:
        yield _case(stage, vital[0], "flipped", choice.random(), vital=True)
        yield _case(stage, vital[1], "truncated", choice.random(), vital=True)
        return
    for file in vital:
        for kind in _KINDS:
            yield _case(stage, file, kind, choice.random(), vital=True)
    for file in files:
        if file not in vital:
            yield _case(stage, file, choice.choice(_KINDS), choice.random(), vital=False)


def inflict(path: Path, kind: str, place: float) -> None:
    """Damages a file at a place in [0, 1) of its length."""
    content = bytearray(path.read_bytes())
    at = int(place * len(content))
    if kind == "deleted" or not content:
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(content[:at])
    else:
        content[at] ^= 0xFF
        path.write_bytes(content)


def _case(stage: Stage, file: Path, kind: str, place: float, *, vital: bool) -> Case:
    def do(folder: Path) -> None:
        workdir = copy_run(stage.unbroken, folder / "run")
        before = max(step for step in same_end.steps(workdir) if step < STEPS)
        inflict(workdir / "checkpoints" / str(STEPS) / file, kind, place)
        run = stage.trainer.train(workdir)
        log = run.require_end(0)
        recognised = (
            f"The checkpoint of step {STEPS}" in log
            and "is damaged" in log
            and f"Going on from step {before}." in log
            and any((workdir / "checkpoints_damaged").glob(f"{STEPS}*"))
        )
        # What nothing reads may be damaged: then the run ends as it should without a warning.
        if vital and not recognised:
            raise Lost(f"the damage was not recognised; the log ends:\n{run.tail()}")
        same_end.require(workdir, stage.unbroken)

    return Case("damage", f"{file} {kind}{'' if kind == 'deleted' else f' at {place:.0%}'}", do)
