"""What nobody should train on or go on with: refused by name, with the mend, in one line a person understands."""

import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.faults import bad_images, bad_labels, damage, raw_city, same_end
from tests.faults.outcome import Case, Lost
from tests.faults.raw_city import CITY, RawCity
from tests.faults.stage import Stage, copy_run

_IMAGES = (
    bad_images.truncated,
    bad_images.empty,
    bad_images.flipped,
    bad_images.cmyk,
    bad_images.grey,
    bad_images.sixteen_bit,
    bad_images.turned,
    bad_images.bomb,
    bad_images.lost,
)
_LABELS = (
    bad_labels.a_column_short,
    bad_labels.swapped,
    bad_labels.unknown_tile,
    bad_labels.elsewhere,
    bad_labels.twice,
    bad_labels.far_off,
    bad_labels.no_list,
)


def cases(stage: Stage) -> Iterator[Case]:
    """Each is a call of main.py that must end with exit code 2."""
    yield _flags(stage, "an unknown key", ["--config.batch.siez=8"], "Did you mean config.batch.size?")
    yield _resume(stage, "another seed", ["--config.seed=1"], "config.seed: 0 in the checkpoint, 1 now", "--workdir")
    yield from (_raw(stage, spoil) for spoil in (_IMAGES[:1] if stage.short else (*_IMAGES, *_LABELS)))
    if stage.short:
        return
    yield _flags(stage, "a wrong type", ["--config.batch.size=many"], "config.batch.size=many")
    yield _flags(
        stage, "a batch of 9 on 2 devices", ["--config.batch.size=9"], "config.batch.size = 9 cannot be divided"
    )
    yield _flags(stage, "a batch of 400", ["--config.batch.size=400"], "config.batch.size = 400", "at most that size")
    yield _flags(stage, "a rate of 1e30", ["--config.optimizer.learning_rate=1e30"], "not finite", "Try a lower")
    yield _flags(stage, "no such data set", ["--config.data.name=vigro"], "vigro")
    yield _flags(stage, "no data", ["--config.data.name=vigor", "--config.data.root=nowhere"], "nowhere", "demo.py")
    yield _resume(stage, "another batch", ["--config.batch.size=4"], "config.batch.size: 8 in the checkpoint, 4 now")
    yield _resume(
        stage,
        "other training data",
        ["--config.data.validation_fraction=0.2"],
        "fingerprint of training panoramas",
        "config.data.validation_fraction: 0.1 -> 0.2",
    )
    yield _resume(stage, "another model", ["--config.model.num_heads=4"], "is of another model", "[2, ", "[4, ")
    yield _resume(stage, "fewer epochs", ["--config.epochs=1"], "config.epochs = 1 ends at step 10", "more epochs")
    yield _prepared_data_changed(stage)
    yield _all_damaged(stage)
    yield _malicious_weights(stage)


def _flags(stage: Stage, what: str, flags: Sequence[str], *parts: str) -> Case:
    return Case("bad_input", what, lambda folder: _require_refused(stage, folder / "run", flags, parts))


def _resume(stage: Stage, what: str, flags: Sequence[str], *parts: str) -> Case:
    """Going on with a copy of the unbroken run, which must not be touched."""

    def do(folder: Path) -> None:
        workdir = copy_run(stage.unbroken, folder / "run", finished=True)
        before = _files(workdir)
        _require_refused(stage, workdir, flags, parts)
        if _files(workdir) != before:
            raise Lost("the refused start changed the workdir")

    return Case("bad_input", f"{what} on resume", do)


def _raw(stage: Stage, spoil: Callable[[RawCity], tuple[str, ...]]) -> Case:
    def do(folder: Path) -> None:
        city = raw_city.write(folder / "VIGOR")
        parts = spoil(city)
        flags = [
            "--config.data.name=vigor",
            f"--config.data.root={city.root}",
            f"--config.data.train_cities=('{CITY}',)",
        ]
        _require_refused(stage, folder / "run", [*flags, f"--config.data.data_dir={folder / 'data'}"], parts)

    return Case(
        "bad_input", f"{spoil.__module__.split('.')[-1].replace('_', ' ')}: {spoil.__name__.replace('_', ' ')}", do
    )


def _prepared_data_changed(stage: Stage) -> Case:
    def do(folder: Path) -> None:
        data = folder / "data"
        shutil.copytree(stage.trainer.data_dir, data)
        (records,) = data.glob("rendered_city/*/*/*ground*array_record*")
        damage.inflict(records, "flipped", 0.5)
        parts = (records.name, "was changed or copied in part", "Delete the folder")
        _require_refused(stage, folder / "run", [f"--config.data.data_dir={data}"], parts)

    return Case("bad_input", "a changed byte in the prepared data", do)


def _all_damaged(stage: Stage) -> Case:
    def do(folder: Path) -> None:
        workdir = copy_run(stage.unbroken, folder / "run")
        for step in same_end.steps(workdir):
            damage.inflict(workdir / "checkpoints" / str(step) / "record" / "metadata", "truncated", 0.5)
        before = _files(workdir)
        _require_refused(stage, workdir, [], ("Every checkpoint of this run is damaged", "--workdir"))
        if _files(workdir) != before:
            raise Lost("the refused start changed the workdir")

    return Case("bad_input", "every checkpoint damaged", do)


class _Trap:
    """Executed by whoever unpickles it."""

    def __init__(self, mark: Path):
        self._mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self._mark,)


def _malicious_weights(stage: Stage) -> Case:
    def do(folder: Path) -> None:
        weights, mark = folder / "vgg16.npy", folder / "executed"
        with weights.open("wb") as file:
            # As numpy writes an array of one object.
            file.write(
                b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117)
            )
            file.write(b"\n" + pickle.dumps(_Trap(mark)))
        flags = ["--config.model.backbone=vgg16", f"--config.model.pretrained={weights}"]
        _require_refused(stage, folder / "run", flags, (str(weights), "may be malicious"))
        if mark.exists():
            raise Lost("the code in the file was executed")

    return Case("bad_input", "weights that execute code", do)


def _require_refused(stage: Stage, workdir: Path, flags: Sequence[str], parts: Sequence[str]) -> None:
    stage.trainer.train(workdir, *flags).require_end(2, "error: ", *parts)


def _files(workdir: Path) -> dict[Path, bytes]:
    """All that decides how a run goes on."""
    kept = [path for path in workdir.rglob("*") if path.is_file() and "tfevents" not in path.name]
    return {path: path.read_bytes() for path in kept}
