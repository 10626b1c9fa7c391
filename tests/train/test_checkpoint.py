import gc
import resource
import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from vigor_jax.config import OptimizerConfig
from vigor_jax.mining import pool
from vigor_jax.parallel import mesh as meshes
from vigor_jax.train import checkpoint, disk_space
from vigor_jax.train import optimizer as optimizers
from vigor_jax.train import state as states
from vigor_jax.train.checkpoint import Checkpoints, ResumeError, SaveError
from vigor_jax.train.checkpoint_folder import CheckpointFolder

# Of an error, Orbax leaves coroutines that nobody waits for any more.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
OPTIMIZER = optimizers.create(OptimizerConfig())


def opened(directory, newest=3, selection_metric="validation/top1"):
    return Checkpoints(directory, newest=newest, selection_metric=selection_metric)


def made(task, seed=0, devices=8):
    return states.create(task, OPTIMIZER, seed, meshes.data_mesh(jax.devices()[:devices]))


def layout(task, devices):
    return states.abstract(task, OPTIMIZER, 0, meshes.data_mesh(jax.devices()[:devices]))


def test_restores_on_other_numbers_of_devices(toy_task, tmp_path):
    task = toy_task()
    state = made(task, devices=8)
    expected = jax.device_get(state)
    for step, devices in enumerate([4, 1, 2]):
        with opened(tmp_path) as checkpoints:
            checkpoints.save(step, state, {"devices": devices}, None)
        with opened(tmp_path) as checkpoints:
            state = checkpoints.restore(step, layout(task, devices))
            assert checkpoints.record(step) == {"devices": devices}
        assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(state)} == {devices}
        assert isinstance(state, states.TrainState)
        jax.tree.map(np.testing.assert_array_equal, expected, jax.device_get(state))


@pytest.fixture
def carrying(toy_task):
    """A toy whose steps hand on five numbered rows, padded to a multiple of the devices, and a counter."""

    class Carrying(toy_task):
        carry_specs: ClassVar = {"rows": PartitionSpec("data"), "count": PartitionSpec()}

        def init_carry(self, devices):
            rows = jnp.pad(1.0 + jnp.arange(5.0), (0, -5 % devices))
            return {"rows": jnp.tile(rows[:, None], (1, 3)), "count": jnp.int32(5)}

    return Carrying()


def test_the_rows_of_a_carry_are_restored_on_other_numbers_of_devices(carrying, tmp_path):
    state = made(carrying, devices=8)
    for step, devices in enumerate([3, 1, 4, 8]):
        with opened(tmp_path) as checkpoints:
            checkpoints.save(step, state, {}, None)
            checkpoints.wait()
            state = checkpoints.restore(step, layout(carrying, devices))
        carry = state.carry
        assert carry["rows"].shape == (5 + -5 % devices, 3)
        assert [shard.data.shape[0] for shard in carry["rows"].addressable_shards] == [-(-5 // devices)] * devices
        np.testing.assert_array_equal(carry["rows"][:5, 1], [1, 2, 3, 4, 5])
        np.testing.assert_array_equal(carry["rows"][5:], 0)
        assert int(carry["count"]) == 5


def test_the_mining_pool_finds_the_same_on_other_numbers_of_devices(toy_task, tmp_path):
    rng = np.random.default_rng(0)
    rows, queries = (rng.standard_normal((n, 3)).astype(np.float32) for n in (6, 4))

    class Pooling(toy_task):
        carry_specs: ClassVar = {"pool": pool.partition_specs("data")}

        def init_carry(self, devices):
            empty = pool.empty(capacity=9, num_tiles=20, dim=3, devices=devices)
            return {"pool": pool.refresh(empty, jnp.arange(3, 9), jnp.zeros(6, jnp.int32), jnp.asarray(rows))}

    def hardest(carry):
        # On one device: scores of other shapes of matrices differ by rounding.
        whole = jax.tree.map(lambda leaf: jnp.asarray(jax.device_get(leaf)), carry["pool"])
        whole = whole.replace(embeddings=whole.embeddings[:9])
        asking = pool.Asking(jnp.full((4, 4), 3, jnp.int32), jnp.zeros(4, jnp.int32))
        return np.asarray(pool.hardest(whole, jnp.asarray(queries), asking, pool.other_tiles, 5))

    task = Pooling()
    state = made(task, devices=8)
    expected = hardest(state.carry)
    assert (expected >= 4).all()
    for step, devices in enumerate([4, 1, 8]):
        with opened(tmp_path) as checkpoints:
            checkpoints.save(step, state, {}, None)
            checkpoints.wait()
            state = checkpoints.restore_newest(layout(task, devices), {}, lambda step, record: None).state
        assert len(state.carry["pool"].embeddings.sharding.device_set) == devices
        assert state.carry["pool"].embeddings.shape == (9 + -9 % devices, 3)
        np.testing.assert_array_equal(hardest(state.carry), expected)


def test_a_plan_is_stored_beside_the_state(toy_task, tmp_path):
    task = toy_task()
    plan = {"table": np.arange(12, dtype=np.int32).reshape(4, 3), "recorded": np.int64(7)}
    expected = {name: np.array(value) for name, value in plan.items()}
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, made(task, devices=1), {}, None, plan=plan)
        plan["table"] += 1  # while it is being written
        checkpoints.wait()
        restored = checkpoints.plan(1, {name: np.zeros_like(value) for name, value in plan.items()})
        assert checkpoints.plan(1, {}) == {}
    assert restored.keys() == expected.keys()
    for name, value in restored.items():
        np.testing.assert_array_equal(value, expected[name])
        assert value.dtype == expected[name].dtype


def test_saved_state_may_be_overwritten_at_once(toy_task, tmp_path):
    """The step donates the state right after the save returned, while it is still being written."""
    task = toy_task(width=50_000)
    state = made(task, devices=2)
    expected = jax.device_get(state)
    overwrite = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0 - 7, tree), donate_argnums=0)
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, state, {}, None)
        jax.block_until_ready(overwrite(state))
        checkpoints.wait()
        jax.tree.map(np.testing.assert_array_equal, expected, jax.device_get(checkpoints.restore(1, layout(task, 2))))


def test_keeps_the_newest_and_the_best(toy_task, tmp_path):
    state = made(toy_task(), devices=1)
    scores = [None, 0.9, 0.2, None, 0.4, None]
    with opened(tmp_path, newest=2) as checkpoints:
        assert (checkpoints.latest(), checkpoints.best()) == (None, None)
        for step, score in enumerate(scores):
            checkpoints.save(step, state, {}, None if score is None else {"validation/top1": score, "other": 1.0})
    with opened(tmp_path, newest=2) as checkpoints:
        assert sorted(int(folder.name) for folder in tmp_path.iterdir()) == [1, 4, 5]
        assert (checkpoints.latest(), checkpoints.best()) == (5, 1)
        assert checkpoints.metrics(1) == {"validation/top1": 0.9, "other": 1.0}
        assert checkpoints.metrics(5) is None


def test_where_nothing_selects_the_newest_are_kept_alone(toy_task, tmp_path):
    state = made(toy_task(), devices=1)
    with opened(tmp_path, newest=2, selection_metric=None) as checkpoints:
        for step, score in enumerate([0.2, 0.9, 0.4, 0.1]):
            checkpoints.save(step, state, {}, {"same_area/top1": score})
        assert checkpoints.best() is None
    assert sorted(int(folder.name) for folder in tmp_path.iterdir()) == [2, 3]


def test_a_half_written_checkpoint_is_not_picked_up(toy_task, tmp_path):
    task = toy_task()
    with opened(tmp_path) as checkpoints:
        checkpoints.save(3, made(task, devices=1), {}, None)
    unfinished = tmp_path / "6.orbax-checkpoint-tmp"
    unfinished.mkdir()
    (unfinished / "state").mkdir()
    with opened(tmp_path) as checkpoints:
        assert checkpoints.latest() == 3
        checkpoints.save(6, made(task, devices=1), {}, None)
    with opened(tmp_path) as checkpoints:
        assert checkpoints.latest() == 6
        checkpoints.restore(6, layout(task, 1))
    assert not unfinished.exists()


def test_a_damaged_checkpoint_is_named(toy_task, tmp_path):
    task = toy_task()
    with opened(tmp_path) as checkpoints:
        checkpoints.save(3, made(task, devices=1), {}, None)
    for file in (tmp_path / "3" / "state").rglob("d/*"):
        file.write_bytes(file.read_bytes()[:10])
    with opened(tmp_path) as checkpoints, pytest.raises(ResumeError) as error:
        checkpoints.restore(3, layout(task, 1))
    assert str(tmp_path / "3") in str(error.value)
    assert "one before" in str(error.value)


def test_missing_and_additional_parameters_are_listed(toy_task, tmp_path):
    class Other(toy_task):
        def init(self, key):
            variables = super().init(key)
            variables["params"]["head"] = variables["params"].pop("aerial")
            return variables

    with opened(tmp_path) as checkpoints:
        checkpoints.save(3, made(toy_task(), devices=1), {}, None)
    with opened(tmp_path) as checkpoints, pytest.raises(ResumeError) as error:
        checkpoints.restore(3, layout(Other(), 1))
    assert "params/aerial: float32 [5, 4] in the checkpoint, missing in this model" in str(error.value)
    assert "params/head: missing in the checkpoint, float32 [5, 4] in this model" in str(error.value)


def bits(tree):
    return jax.tree.map(np.asarray, jax.device_get(tree))


PLAN = {"table": np.arange(400, dtype=np.int32).reshape(40, 10), "recorded": np.array(7, np.int64)}


@pytest.fixture(scope="module")
def two_checkpoints(toy_task, tmp_path_factory):
    """`(folder, layout, {step: state on the host})` of two checkpoints of different states on two devices."""
    task, directory = toy_task(width=300), tmp_path_factory.mktemp("whole")
    states_of = {step: made(task, seed=step, devices=2) for step in (3, 6)}
    with opened(directory / "checkpoints") as checkpoints:
        for step, state in states_of.items():
            metrics = {"validation/top1": step / 10}
            checkpoints.save(step, state, {"step": step}, metrics, plan=PLAN)
    return directory / "checkpoints", layout(task, 2), {step: bits(state) for step, state in states_of.items()}


@pytest.fixture
def damaged(two_checkpoints, tmp_path):
    """`(damage) -> (what is restored, warnings)`: of a copy to whose newer checkpoint was done what `damage` does."""
    whole, into, _ = two_checkpoints

    def restore(damage):
        directory = Path(tempfile.mkdtemp(dir=tmp_path)) / "checkpoints"
        shutil.copytree(whole, directory)
        damage(directory / "6")
        with opened(directory) as checkpoints:
            return directory, checkpoints.restore_newest(into, PLAN, lambda step, record: None)

    yield restore
    gc.collect()  # see `pytestmark`


def require_whole(restored, two_checkpoints):
    jax.tree.map(np.testing.assert_array_equal, two_checkpoints[2][restored.step], bits(restored.state))
    jax.tree.map(np.testing.assert_array_equal, PLAN, restored.plan)
    assert restored.metrics == {"validation/top1": restored.step / 10}


def test_whatever_is_damaged_another_state_is_never_restored(damaged, two_checkpoints):
    """Each file cut off, emptied, deleted, and with some bit flipped: either it did not matter, or it is noticed."""
    files = [file.relative_to(two_checkpoints[0] / "6") for file in (two_checkpoints[0] / "6").rglob("*")]
    files = [file for file in files if (two_checkpoints[0] / "6" / file).is_file()]
    random, noticed = np.random.default_rng(0), set()
    for file in files:
        content = (two_checkpoints[0] / "6" / file).read_bytes()
        flipped = np.frombuffer(content, np.uint8).copy()
        flipped[random.integers(len(content))] ^= 1 << random.integers(8)
        for damage, changed in (("cut", content[: len(content) // 2]), ("flipped", flipped.tobytes()), ("gone", None)):
            directory, restored = damaged(
                lambda folder, file=file, changed=changed: (
                    (folder / file).unlink() if changed is None else (folder / file).write_bytes(changed)
                )
            )
            require_whole(restored, two_checkpoints)
            if restored.step == 3:
                noticed.add((str(file), damage))
            assert (directory.with_name("checkpoints_damaged") / "6").exists() == (restored.step == 3)
    # Of the others Orbax leaves now more, now fewer, that nobody reads.
    read = ("state/manifest.ocdbt", "state/_METADATA", "plan/manifest.ocdbt", "record/metadata")
    assert noticed >= {(file, damage) for file in read for damage in ("cut", "gone")}
    assert noticed >= {(f"{item}/manifest.ocdbt", "flipped") for item in ("state", "plan")}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: [shutil.rmtree(each) for each in folder.iterdir() if each.is_dir()], "metadata"),
        (lambda folder: shutil.rmtree(folder / "plan"), "plan"),
        (
            lambda folder: (folder / "record" / "metadata").write_text(
                (folder / "record" / "metadata").read_text().replace("0.6", "0.9")
            ),
            "is not what was written",
        ),
        (
            lambda folder: (
                shutil.rmtree(folder / "state"),
                shutil.copytree(folder.parent / "3" / "state", folder / "state"),
            ),
            "other bits were read than were written in params/aerial, params/ground",
        ),
    ],
    ids=["everything", "the plan", "the metrics", "the bits alone"],
)
def test_a_damaged_checkpoint_is_moved_aside_with_a_warning(damaged, two_checkpoints, caplog, damage, reason):
    directory, restored = damaged(damage)
    assert restored.step == 3
    require_whole(restored, two_checkpoints)
    aside = directory.with_name("checkpoints_damaged") / "6"
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    for part in (f"step 6, {directory / '6'}, is damaged", reason, f"moved to {aside}", f"from {directory / '3'}."):
        assert part in warning
    assert aside.is_dir()
    # The step can be saved again, and be damaged again.
    state = jax.tree.map(jnp.asarray, two_checkpoints[2][6])
    with opened(directory) as checkpoints:
        checkpoints.save(6, state, {}, None)
    (directory / "6" / "record" / "metadata").write_text("{")
    with opened(directory) as checkpoints:
        restored = checkpoints.restore_newest(two_checkpoints[1], PLAN, lambda step, record: None)
    assert restored.step == 3
    assert sorted(folder.name for folder in aside.parent.iterdir()) == ["6", "6-2"]


def test_if_all_are_damaged_nothing_is_moved(damaged):
    def damage(folder):
        for each in (folder, folder.with_name("3")):
            (each / "record" / "metadata").unlink()

    with pytest.raises(ResumeError, match="Every checkpoint of this run is damaged") as error:
        damaged(damage)
    for step in (3, 6):
        (line,) = [line for line in str(error.value).splitlines() if f"checkpoints/{step}:" in line]
        folder = Path(line.strip().split(": ")[0])
        assert folder.is_dir()
    assert not (folder.parent.parent / "checkpoints_damaged").exists()
    assert "--workdir" in str(error.value)


def test_the_best_is_chosen_among_the_whole(damaged, two_checkpoints):
    directory, _ = damaged(lambda folder: (folder.with_name("3") / "record" / "metadata").write_text("?"))
    with opened(directory) as checkpoints:
        assert (checkpoints.latest(), checkpoints.best()) == (6, 6)
    assert (directory.with_name("checkpoints_damaged") / "3").exists()


def test_another_model_or_plan_is_no_damage(two_checkpoints, toy_task, tmp_path):
    directory, into, _ = two_checkpoints
    other = {**PLAN, "table": np.zeros((41, 10), np.int32)}
    with opened(directory) as checkpoints:
        with pytest.raises(ResumeError, match=r"table: int32 \[40, 10\] in the checkpoint, int32 \[41, 10\] in this"):
            checkpoints.restore_newest(into, other, lambda step, record: None)
        with pytest.raises(ResumeError, match=r"params/ground: float32 \[6, 300\] in the checkpoint, .*\[6, 4\]"):
            checkpoints.restore_newest(layout(toy_task(), 2), PLAN, lambda step, record: None)
    assert not directory.with_name("checkpoints_damaged").exists()


def test_a_stop_between_checkpoints_counts_only_while_it_is_the_newest(toy_task, tmp_path):
    task, directory = toy_task(), tmp_path / "checkpoints"
    state, into, aside = made(task, devices=1), layout(task, 1), tmp_path / "checkpoints_interrupted"

    def restore(checkpoints):
        found = checkpoints.restore_newest(into, {}, lambda step, record: None)
        return found.step, found.interrupted

    with opened(directory, newest=1) as checkpoints:
        checkpoints.save(2, state, {}, {"validation/top1": 0.5})
        checkpoints.save_interrupted(2, state, {})  # is saved already
        assert not aside.exists()
        for step in (3, 5):
            checkpoints.save_interrupted(step, state, {})
        assert [folder.name for folder in aside.iterdir()] == ["5"]
        assert (checkpoints.latest(), checkpoints.best()) == (5, 2)
    with opened(directory, newest=1) as checkpoints:
        assert restore(checkpoints) == (5, True)
        assert checkpoints.path(5) == aside / "5"
        checkpoints.save(4, state, {}, None)  # an older start: the stop is still ahead of it
        checkpoints.wait()
        assert restore(checkpoints) == (5, True)
        checkpoints.save(5, state, {}, None)
        assert aside.exists()  # until the other one is complete
        checkpoints.wait()
        assert not aside.exists()
        assert restore(checkpoints) == (5, False)
    assert sorted(folder.name for folder in directory.iterdir()) == ["2", "5"]


def test_a_stop_is_written_only_when_the_regular_one_is_complete(toy_task, tmp_path, monkeypatch):
    # On several hosts Orbax's barriers of the two would meet. 16 MB, so that the first is not written by chance.
    task, begun = toy_task(width=1 << 18), []

    class Watched(CheckpointFolder):
        def save(self, step, *arguments):
            begun.append((step, sorted(path.name for path in tmp_path.glob("*/[0-9]*"))))
            super().save(step, *arguments)

    monkeypatch.setattr(checkpoint, "CheckpointFolder", Watched)
    with opened(tmp_path / "checkpoints") as checkpoints:
        state = made(task, devices=1)
        checkpoints.save(3, state, {}, None)
        assert checkpoints.latest() == 3
        checkpoints.save_interrupted(4, state, {})
    assert begun == [(3, []), (4, ["3"])]


def test_a_full_disk_leaves_the_last_good_one(toy_task, tmp_path):
    """By a limit on the size of files, which fails as a full disk does, if with another number."""
    small, large = made(toy_task(), devices=1), made(toy_task(width=50_000), devices=1)
    checkpoints = opened(tmp_path)
    checkpoints.save(3, small, {}, None)
    checkpoints.wait()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        checkpoints.save(6, large, {}, None)
        with pytest.raises(SaveError) as error:
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    for part in (
        f"to {tmp_path}: the disk or the quota is full",
        "takes up to 6.8 MB",
        f"good one is {tmp_path / '3'}",
    ):
        assert part in str(error.value)
    assert checkpoints.latest() == 3
    checkpoints.__exit__(None, None, None)
    with opened(tmp_path) as checkpoints:
        assert checkpoints.restore_newest(layout(toy_task(), 1), {}, lambda step, record: None).step == 3
        checkpoints.save(6, small, {}, None)
        checkpoints.wait()
        assert checkpoints.latest() == 6
    gc.collect()  # see `pytestmark`


def test_little_space_is_warned_of_once(toy_task, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(disk_space, "free_bytes", lambda directory: 100)
    with opened(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, made(toy_task(), devices=1), {}, None)
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith("A checkpoint takes up to ")
    assert f"100 B are free in {tmp_path}; it may not fit." in warning
