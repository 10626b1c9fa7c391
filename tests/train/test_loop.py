import json
import re

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from vigor_jax import tasks
from vigor_jax.config import ConfigError
from vigor_jax.errors import UserError
from vigor_jax.parallel import mesh as meshes
from vigor_jax.tasks.entry import TaskEntry
from vigor_jax.train import memory
from vigor_jax.train import optimizer as optimizers
from vigor_jax.train import state as states
from vigor_jax.train import step as steps
from vigor_jax.train.checkpoint import Checkpoints, ResumeError
from vigor_jax.train.loop import train_and_evaluate
from vigor_jax.train.run_errors import NonFiniteError
from vigor_jax.train.too_little_memory import TooLittleMemory


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def kept(workdir):
    return sorted(int(folder.name) for folder in (workdir / "checkpoints").iterdir())


def final_state(workdir, task, config):
    mesh = meshes.data_mesh()
    into = states.abstract(task, optimizers.create(config.optimizer), config.seed, mesh)
    with Checkpoints(workdir / "checkpoints", newest=3, selection_metric=task.selection_metric) as checkpoints:
        return jax.device_get(checkpoints.restore(checkpoints.latest(), into))


def assert_equal_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_run_leaves_metrics_table_and_summary_and_is_done_once(toy_task, toy_config, register_toy, tmp_path, capsys):
    task, config = toy_task(scores=[0.3, 0.2]), toy_config()
    register_toy(task)
    summary = train_and_evaluate(config, tmp_path)

    assert task.evaluated_steps == [4, 8]
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == 8
    assert summary["metrics"] == {"validation/top1": 0.2, "same_area/top1": 0.1, "same_area/gallery": 100}
    assert summary["best"]["step"] == 4
    assert summary["best"]["metrics"]["same_area/top1"] == 0.15
    assert summary["throughput"]["timed_steps"] == 7
    assert summary["throughput"]["devices"] == 8
    assert summary["throughput"]["examples_per_s"] > 0
    assert 0 <= summary["throughput"]["data_wait_share"] <= 1
    assert summary["config"]["batch"]["size"] == 8
    assert summary["versions"]["jax"] == jax.__version__
    # Logged every 2 steps and before every checkpoint (3, 4, 6, 8); evaluated at 4 and 8.
    assert [row["step"] for row in rows(tmp_path)] == [2, 3, 4, 4, 6, 8, 8]
    assert [row["epoch"] for row in rows(tmp_path) if "epoch" in row] == [1, 2]
    assert list(tmp_path.glob("events.out.tfevents.*"))
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["epoch", "split", "top-1", "gallery"]
    assert [line.split() for line in table[2:]] == [
        ["1", "validation", "0.300", "20"],
        ["same_area", "0.150", "100"],
        ["2", "validation", "0.200", "20"],
        ["same_area", "0.100", "100"],
    ]

    assert train_and_evaluate(config, tmp_path) == summary
    assert task.evaluated_steps == [4, 8]


def test_a_run_in_which_nothing_selects_keeps_the_last_checkpoint(toy_task, toy_config, register_toy, tmp_path):
    register_toy(toy_task(scores=[0.3, 0.2], selection_metric=None))
    summary = train_and_evaluate(toy_config(checkpoints_to_keep=1), tmp_path)
    assert summary["selection_metric"] is None
    assert summary["best"] == {"step": None, "metrics": None}
    assert summary["metrics"]["same_area/top1"] == 0.1
    assert kept(tmp_path) == [8]


def test_logged_metrics_are_the_interval_means(toy_task, toy_config, register_toy, tmp_path):
    task, config = toy_task(), toy_config(epochs=1)
    register_toy(task)
    train_and_evaluate(config, tmp_path)

    mesh = meshes.data_mesh()
    optimizer, schedule = optimizers.create(config.optimizer), optimizers.learning_rate(config.optimizer)
    state, step = states.create(task, optimizer, 0, mesh), steps.make(task, optimizer, schedule, 0, mesh)
    losses = []
    for t in range(4):
        batch = jax.device_put(task.batch(t), NamedSharding(mesh, PartitionSpec("data")))
        state, metrics, _, _ = step(state, batch)
        losses.append(float(metrics["loss"]))
    logged = {row["step"]: row["train/loss"] for row in rows(tmp_path) if "train/loss" in row}
    expected = {2: np.mean(losses[:2]), 3: losses[2], 4: losses[3]}
    assert logged == pytest.approx(expected, rel=1e-6)


def test_going_on_equals_an_unbroken_run(toy_task, toy_config, register_toy, without_measured, tmp_path, capsys):
    register_toy(toy_task())
    train_and_evaluate(toy_config(epochs=1), tmp_path / "resumed")
    capsys.readouterr()
    task = toy_task()
    register_toy(task)
    train_and_evaluate(toy_config(epochs=3), tmp_path / "resumed")
    assert task.evaluated_steps == [8, 12]
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "validation" in line]
    assert shown == ["1", "2", "3"]  # the table of the first start, then the new rows
    train_and_evaluate(toy_config(epochs=3), tmp_path / "unbroken")

    config = toy_config(epochs=3)
    resumed, unbroken = (final_state(tmp_path / name, toy_task(), config) for name in ("resumed", "unbroken"))
    assert int(resumed.step) == 12
    assert_equal_bits(resumed, unbroken)

    def deterministic(name):
        return [without_measured(row) for row in rows(tmp_path / name)]

    assert deterministic("resumed") == deterministic("unbroken")


def test_killed_before_the_summary_evaluates_nothing_again(toy_task, toy_config, register_toy, tmp_path):
    register_toy(toy_task())
    first = train_and_evaluate(toy_config(), tmp_path)
    (tmp_path / "summary.json").unlink()
    task = toy_task()
    register_toy(task)
    again = train_and_evaluate(toy_config(), tmp_path)
    assert task.evaluated_steps == []
    assert again["metrics"] == first["metrics"]
    assert again["throughput"]["examples_per_s"] is None


def test_what_is_dear_is_measured_at_the_end_alone(toy_task, toy_config, register_toy, tmp_path):
    at_end = frozenset({"validation/dense_top1"})
    task = toy_task(metrics_at_end=at_end)
    register_toy(task)
    longer = train_and_evaluate(toy_config(epochs=3), tmp_path)
    assert (task.evaluated_steps, task.ended_steps) == ([4, 8, 12], [12])
    assert longer["metrics"]["validation/dense_top1"] == 12
    assert [row.get("validation/dense_top1") for row in rows(tmp_path) if "epoch" in row] == [None, None, 12]

    # Killed before the summary: nothing again.
    (tmp_path / "summary.json").unlink()
    assert train_and_evaluate(toy_config(epochs=3), tmp_path)["metrics"] == longer["metrics"]
    assert task.ended_steps == [12]

    # Asked for later, of a run that is complete: all of that step again, and no other row is lost.
    also = frozenset({"validation/multi_crop_top1"})
    other = toy_task(metrics_at_end=also)
    register_toy(other)
    (tmp_path / "summary.json").unlink()
    metrics = train_and_evaluate(toy_config(epochs=3), tmp_path)["metrics"]
    assert (other.evaluated_steps, other.ended_steps) == ([12], [12])
    assert metrics["validation/multi_crop_top1"] == 12
    assert [row["epoch"] for row in rows(tmp_path) if "epoch" in row] == [1, 2, 3]


def test_a_run_that_ends_earlier_is_tested_there(toy_task, toy_config, register_toy, tmp_path):
    register_toy(toy_task())
    train_and_evaluate(toy_config(epochs=1), tmp_path)
    task = toy_task(metrics_at_end=frozenset({"validation/dense_top1"}))
    register_toy(task)
    metrics = train_and_evaluate(toy_config(epochs=1, log_every_steps=3), tmp_path)["metrics"]
    assert (task.evaluated_steps, task.ended_steps) == ([4], [4])
    assert metrics["validation/dense_top1"] == 4


def test_a_complete_run_is_evaluated_by_the_config_that_it_is_started_with(
    toy_task, toy_config, register_toy, tmp_path
):
    def start(score, **changes):
        """(Which steps were evaluated, what summary and history say)."""
        task = toy_task(scores=[score])
        register_toy(task)
        found = train_and_evaluate(toy_config(epochs=1, **changes), tmp_path)["metrics"]["validation/top1"]
        assert [row["validation/top1"] for row in rows(tmp_path) if "epoch" in row] == [found]
        return task.evaluated_steps, found

    assert start(0.1) == ([4], 0.1)
    assert start(0.2) == ([], 0.1)
    assert start(0.3, eval_batch_size=3) == ([4], 0.3)
    assert start(0.4, eval_batch_size=3) == ([], 0.3)
    assert start(0.5) == ([4], 0.5)  # the checkpoint's own metrics are 0.1, but the findings would be of another
    (tmp_path / "summary.json").unlink()
    assert start(0.6, eval_batch_size=3) == ([4], 0.6)


def test_killed_before_the_report_makes_it_at_the_next_start(toy_task, toy_config, register_toy, tmp_path, monkeypatch):
    task, config = toy_task(), toy_config(epochs=1)
    register_toy(task)

    def killed(workdir):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(task, "report", killed)
        with pytest.raises(KeyboardInterrupt):
            train_and_evaluate(config, tmp_path)
    assert not (tmp_path / "report.html").exists()
    summary = (tmp_path / "summary.json").read_text()
    train_and_evaluate(config, tmp_path)
    assert (tmp_path / "report.html").read_text() == (tmp_path / "summary.json").read_text() == summary
    assert task.evaluated_steps == [4]
    monkeypatch.setattr(task, "report", killed)  # made once
    train_and_evaluate(config, tmp_path)


def test_the_newest_and_the_best_are_kept(toy_task, toy_config, register_toy, tmp_path):
    register_toy(toy_task(scores=[0.1, 0.9, 0.2, 0.3]))
    summary = train_and_evaluate(toy_config(epochs=4, checkpoints_to_keep=2), tmp_path)
    assert kept(tmp_path) == [8, 15, 16]
    assert summary["best"]["step"] == 8


@pytest.mark.parametrize(("bad_batch", "last_good"), [(5, 4), (1, None)])
def test_a_nonfinite_step_stops_the_run(toy_task, toy_config, register_toy, tmp_path, bad_batch, last_good):
    task = toy_task(nonfinite_batch=bad_batch)
    register_toy(task)
    with pytest.raises(NonFiniteError) as error:
        train_and_evaluate(toy_config(epochs=4, log_every_steps=100), tmp_path)
    assert f"in step {bad_batch + 1} (batch {bad_batch}, counted from 0)" in str(error.value)
    where = f"checkpoints/{last_good} (step {last_good})" if last_good else "No checkpoint was written"
    assert where in str(error.value)
    assert max(kept(tmp_path), default=None) == last_good
    assert all(step <= bad_batch for step in task.evaluated_steps)
    assert all(np.isfinite(value) for row in rows(tmp_path) for value in row.values())


def test_a_diagnosis_is_logged_once(toy_task, toy_config, register_toy, tmp_path, caplog):
    register_toy(toy_task(collapsed_below=100.0))
    with caplog.at_level("WARNING"):
        train_and_evaluate(toy_config(), tmp_path)
    assert [record.message for record in caplog.records].count("the toy has collapsed") == 1


def test_another_seed_batch_or_data_is_refused(toy_task, toy_config, register_toy, tmp_path):
    register_toy(toy_task())
    train_and_evaluate(toy_config(epochs=1), tmp_path)
    register_toy(toy_task(batch_size=16, seed=3, fingerprint={"data": "other"}))
    with pytest.raises(ResumeError) as error:
        train_and_evaluate(toy_config(seed=3, batch={"size": 16}), tmp_path)
    for line in (
        "config.seed: 0 in the checkpoint, 3 now",
        "config.batch.size: 8 in the checkpoint, 16 now",
        "fingerprint of data: 'toy' in the checkpoint, 'other' now",
        "--workdir",
    ):
        assert line in str(error.value)


def test_changes_that_are_allowed_are_warned_of(toy_task, toy_config, register_toy, tmp_path, caplog):
    register_toy(toy_task())
    train_and_evaluate(toy_config(epochs=1), tmp_path)
    register_toy(toy_task(batch_size=16, seed=3, fingerprint={"data": "other"}))
    changed = toy_config(seed=3, batch={"size": 16})
    with pytest.raises(ResumeError, match="--allow_changes"):
        train_and_evaluate(changed, tmp_path)
    assert train_and_evaluate(changed, tmp_path, allow_changes=True)["steps"] == 8
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        "Allowed to change: config.seed: 0 in the checkpoint, 3 now",
        "Allowed to change: config.batch.size: 8 in the checkpoint, 16 now",
        "Allowed to change: fingerprint of data: 'toy' in the checkpoint, 'other' now",
    ]
    # The checkpoints since are of the new run.
    train_and_evaluate(toy_config(seed=3, batch={"size": 16}, epochs=3), tmp_path)


# Of the error, Orbax leaves coroutines that nobody waits for any more.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(
    toy_task, toy_config, register_toy, tmp_path, caplog
):
    register_toy(toy_task())
    for name in ("whole", "damaged"):
        train_and_evaluate(toy_config(epochs=2), tmp_path / name)
    for file in (tmp_path / "damaged" / "checkpoints" / "8" / "state").rglob("d/*"):
        file.write_bytes(file.read_bytes()[:100])
    tasks = {name: toy_task() for name in ("whole", "damaged")}
    for name, task in tasks.items():
        register_toy(task)
        train_and_evaluate(toy_config(epochs=3), tmp_path / name)
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "checkpoints/8, is damaged" in warning
    assert "The run goes on from" in warning
    assert "checkpoints/6." in warning
    assert (tasks["whole"].evaluated_steps, tasks["damaged"].evaluated_steps) == ([12], [8, 12])
    whole, damaged = (final_state(tmp_path / name, toy_task(), toy_config()) for name in ("whole", "damaged"))
    assert_equal_bits(whole, damaged)
    steps = {name: [row["step"] for row in rows(tmp_path / name)] for name in tasks}
    assert steps["whole"] == steps["damaged"]


def test_another_model_is_refused(toy_task, toy_config, register_toy, tmp_path):
    register_toy(toy_task())
    train_and_evaluate(toy_config(epochs=1), tmp_path)
    register_toy(toy_task(width=5))
    with pytest.raises(ResumeError) as error:
        train_and_evaluate(toy_config(), tmp_path)
    assert "params/ground: float32 [6, 4] in the checkpoint, float32 [6, 5] in this model" in str(error.value)
    assert "statistics/mean" in str(error.value)
    assert "opt_state" not in str(error.value)
    assert "--workdir" in str(error.value)


def test_fewer_epochs_than_done_is_refused(toy_task, toy_config, register_toy, tmp_path):
    register_toy(toy_task())
    train_and_evaluate(toy_config(epochs=2), tmp_path)
    with pytest.raises(ConfigError, match=r"ends at step 4, but .* is at step 8"):
        train_and_evaluate(toy_config(epochs=1), tmp_path)


@pytest.mark.parametrize(("size", "sizes"), [(14, "8, 16"), (3, "8"), (20, "16, 24")])
def test_a_batch_that_the_devices_do_not_divide(toy_config, tmp_path, size, sizes):
    with pytest.raises(ConfigError) as error:
        train_and_evaluate(toy_config(batch={"size": size}), tmp_path)
    assert str(error.value) == (
        f"config.batch.size = {size} cannot be divided among 8 devices (1 host). The nearest sizes that can: {sizes}."
    )


def test_a_micro_batch_that_does_not_divide_a_devices_share_is_refused_before_any_data_is_prepared(
    toy_config, tmp_path
):
    with pytest.raises(ConfigError) as error:
        train_and_evaluate(toy_config(batch={"size": 32}, micro_batch_size=3), tmp_path)
    assert str(error.value) == (
        "config.micro_batch_size = 3 does not divide the 4 pairs of each device: config.batch.size = 32 on 8 devices "
        "(1 host). Sizes that do: 1, 2, 4; 0 takes all at once."
    )


def test_a_transfer_that_nobody_asked_for_is_refused_in_the_steps(toy_task, toy_config, register_toy, tmp_path):
    """By what CPUs notice: an array of the host handed to a program. From device to host they copy nothing."""
    double = jax.jit(lambda rows: 2 * rows)
    asked = []

    class Asking(toy_task):
        def take_feedback(self, step, feedback):
            asked.append(jax.device_get(double(jax.device_put(np.ones(3)))))
            if step == 5:
                double(np.ones(3))

    register_toy(Asking())
    with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device transfer"):
        train_and_evaluate(toy_config(), tmp_path)
    assert len(asked) == 6


def test_what_the_first_start_resolved_is_handed_to_all_later_ones(toy_task, toy_config, monkeypatch, tmp_path):
    handed = []

    def create(config, resolved):
        handed.append(dict(resolved))
        task = toy_task()
        task.resolved = {"preprocessing": ("tf", 1.5)}
        return task

    monkeypatch.setitem(tasks.REGISTRY, "toy", TaskEntry(type(toy_config()), create))
    summary = train_and_evaluate(toy_config(epochs=1), tmp_path)
    assert summary["resolved"] == {"preprocessing": ["tf", 1.5]}  # as JSON gives it back
    train_and_evaluate(toy_config(epochs=2), tmp_path)
    (tmp_path / "report.due").touch()
    train_and_evaluate(toy_config(epochs=2), tmp_path)
    assert handed == [{}, summary["resolved"], summary["resolved"]]


def test_errors_of_the_batches_reach_the_user(toy_task, toy_config, register_toy, tmp_path):
    class Broken(toy_task):
        def batch(self, step):
            if step == 2:
                raise OSError("truncated JPEG")
            return super().batch(step)

    register_toy(Broken())
    with pytest.raises(OSError, match="truncated JPEG"):
        train_and_evaluate(toy_config(), tmp_path)


def test_the_learning_rate_is_the_schedules(toy_task, toy_config, register_toy, tmp_path):
    register_toy(toy_task())
    config = toy_config(epochs=1, log_every_steps=1, optimizer={"learning_rate": 0.5, "decay_steps": 2})
    train_and_evaluate(config, tmp_path)
    rates = [row["train/learning_rate"] for row in rows(tmp_path) if "train/loss" in row]
    assert rates == pytest.approx([0.5 * 0.1 ** (t / 2) for t in range(4)], rel=1e-5)


@pytest.mark.parametrize("where", ["loss", "evaluate"])
def test_too_little_memory_names_the_knobs(toy_task, toy_config, register_toy, tmp_path, monkeypatch, where):
    """Whether the compiler finds out or the device."""

    def exhausted(self, *arguments, **named):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nlong list")

    monkeypatch.setattr(toy_task, where, exhausted)
    register_toy(toy_task())
    with pytest.raises(TooLittleMemory) as error:
        train_and_evaluate(toy_config(), tmp_path)
    assert "Out of memory allocating 9 bytes" in str(error.value)
    assert "config.batch.size (now 8)" in str(error.value)
    assert "config.eval_batch_size (now 64)" in str(error.value)
    assert "long list" not in str(error.value)


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_step_too_large_is_refused_before_it_runs(
    toy_task, toy_config, register_toy, tmp_path, monkeypatch, caplog, is_shared
):
    """With a limit that no step keeps; on devices without memory of their own, the run is left to try."""
    register_toy(toy_task())
    monkeypatch.setattr(memory, "limit", lambda devices: memory.Limit(100, is_shared))
    caplog.set_level("INFO")
    if is_shared:
        assert train_and_evaluate(toy_config(epochs=1), tmp_path)["steps"] == 4
    else:
        with pytest.raises(TooLittleMemory, match=r"Memory of a step on each device: \d MiB of 0 MiB"):
            train_and_evaluate(toy_config(epochs=1), tmp_path)
    said = [record.message for record in caplog.records if record.message.startswith("Memory of a step")]
    assert len(said) == 1  # one program
    warned = [record for record in caplog.records if "more than there is" in record.message]
    assert len(warned) == is_shared
    assert kept(tmp_path) == ([3, 4] if is_shared else [])


def test_the_log_says_what_a_start_took(toy_task, toy_config, register_toy, tmp_path, caplog):
    class TwoPhases(toy_task):
        def batch(self, step):
            more = {"more": np.zeros((8, 1), np.uint8)} if step >= 4 else {}
            return super().batch(step) | more

    register_toy(TwoPhases())
    caplog.set_level("INFO")
    train_and_evaluate(toy_config(), tmp_path)
    said = [record.message for record in caplog.records]
    seconds = r"\d+\.\d s"
    (start,) = [message for message in said if message.startswith("The first step was done")]
    stages = ("data", "state", "first batch", "program", "first step")
    assert re.fullmatch(rf"The first step was done after \d+ s: {', '.join(f'{s} {seconds}' for s in stages)}\.", start)
    programs = [
        k for k, message in enumerate(said) if re.match(r"(Compiled the step|Found the step compiled) in", message)
    ]
    assert len(programs) == 2
    assert programs[0] < said.index(start) < programs[1]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["throughput"]["timed_steps"] == 7


def test_a_workdir_that_cannot_be(toy_task, toy_config, register_toy, tmp_path):
    register_toy(toy_task())
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--workdir=.*file/run cannot be made"):
        train_and_evaluate(toy_config(), tmp_path / "file" / "run")
