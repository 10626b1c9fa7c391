"""main.py with configs/cross_area.py: from raw files to the summary, killed and gone on with, and on bad input."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

ROOT = Path(__file__).parents[1]
SPLITS = ("validation", "cross_area")


@pytest.fixture(scope="module")
def vigor(tmp_path_factory, write_mini_vigor):
    """Two cities of 100 tiles and 80 panoramas."""
    return write_mini_vigor(tmp_path_factory.mktemp("raw") / "VIGOR", rows=10, columns=10, panoramas=80, noise=40)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """`(root, workdir, *flags) -> process` of main.py on two devices, with a small model; ended with the module."""
    folder = tmp_path_factory.mktemp("main")
    environment = os.environ | {
        # Compiling is most of what these runs do.
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    processes = []

    def run(root, workdir, *flags):
        settings = {
            "data.root": root,
            "data.data_dir": folder / "prepared",
            "data.train_cities": "('Seattle',)",
            "data.test_cities": "('Chicago',)",
            "data.aerial_size": "(32, 32)",
            "data.ground_size": "(32, 64)",
            "model.backbone": "vgg11",
            "model.width": 0.05,
            "model.num_heads": 2,
            "model.centre_descriptor": True,
            "model.final_pool": False,
            "model.dtype": "float32",
            "optimizer.learning_rate": 1e-3,
            "batch.size": 4,
            "batch.augment": True,
            # One epoch on random batches, one on half mined ones, and one with semi-positives and offsets.
            "epochs": 3,
            "mining.from_epoch": 2,
            "loss.hybrid_from_epoch": 3,
            "checkpoint_every_steps": 5,
            "log_every_steps": 1,
            "input_threads": 2,
        }
        command = [sys.executable, ROOT / "main.py", f"--config={ROOT / 'configs/cross_area.py'}"]
        command += [f"--config.{key}={value}" for key, value in settings.items()]
        command += [f"--workdir={workdir}", *flags]
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def finish(process):
    out, log = process.communicate(timeout=300)
    assert process.returncode == 0, log
    return out, log


def rows(workdir):
    path = workdir / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def final_state(workdir, step):
    """Everything in the last checkpoint, read by Orbax alone: parameters, mining pool, mined table."""
    restore = ocp.PyTreeCheckpointer().restore
    return {item: restore(workdir / "checkpoints" / str(step) / item) for item in ("state", "plan")}


@pytest.fixture(scope="module")
def unbroken(start, vigor, tmp_path_factory):
    """A finished run: workdir, standard output, log."""
    workdir = tmp_path_factory.mktemp("runs") / "unbroken"
    return workdir, *finish(start(vigor.root, workdir))


def test_one_command_prepares_trains_evaluates_and_sums_up(unbroken):
    workdir, out, log = unbroken
    summary = json.loads((workdir / "summary.json").read_text())
    assert {"config", "steps", "metrics", "throughput", "versions"} <= set(summary)
    assert summary["config"]["name"] == "cross_area"
    assert summary["config"]["batch"] == {"size": 4, "one_city": False, "augment": True}
    for split in SPLITS:
        for metric in ("top1", "top5", "top10", "top1_percent", "hit_rate", "hit_rate_covered", "chance_top1"):
            assert 0 <= summary["metrics"][f"{split}/{metric}"] <= 1
    assert summary["metrics"]["cross_area/gallery"] == 100
    assert summary["metrics"]["cross_area/queries"] == 80
    assert summary["throughput"]["devices"] == 2
    assert summary["throughput"]["examples_per_s"] > 0
    assert summary["versions"]["jax"] == jax.__version__

    history = rows(workdir)
    assert [row["step"] for row in history if "train/loss" in row] == list(range(1, summary["steps"] + 1))
    evaluations = [row for row in history if "epoch" in row]
    an_epoch = summary["steps"] // 3
    assert [(row["epoch"], row["step"]) for row in evaluations] == [(k, k * an_epoch) for k in (1, 2, 3)]
    assert [row["step"] for row in history if "train/iou_loss" in row] == list(
        range(2 * an_epoch + 1, 3 * an_epoch + 1)
    )
    assert [row["step"] for row in history if "train/offset_loss" in row] == list(
        range(2 * an_epoch + 1, 3 * an_epoch + 1)
    )
    assert summary["metrics"]["cross_area/median_m"] > 0
    page = (workdir / "report.html").read_text()
    assert "cross_area" in page
    assert f"Report: {workdir / 'report.html'}" in log
    assert {key: value for key, value in evaluations[-1].items() if key not in ("epoch", "step")} == summary["metrics"]
    (events,) = workdir.glob("events.out.tfevents.*")
    assert b"cross_area/top1" in events.read_bytes()

    table = [line.split("  ") for line in out.splitlines()]
    header = [cell.strip() for cell in table[0] if cell.strip()]
    assert header[:7] == ["epoch", "split", "top-1%", "top-1", "top-5", "top-10", "hit rate"]
    assert [[cell.strip() for cell in row if cell.strip()][:2] for row in table[2::2]] == [
        ["1", "validation"],
        ["2", "validation"],
        ["3", "validation"],
    ]
    assert "collapsed" not in log
    assert "Traceback" not in log


@pytest.mark.long
def test_killed_at_any_step_it_ends_with_the_bits_of_the_unbroken_run(
    start, vigor, unbroken, without_measured, tmp_path
):
    workdir, _, _ = unbroken
    steps = json.loads((workdir / "summary.json").read_text())["steps"]
    kill_at = random.SystemRandom().randrange(1, steps)
    process = start(vigor.root, tmp_path)
    deadline = time.monotonic() + 120
    while not any(row["step"] >= kill_at for row in rows(tmp_path)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "summary.json").exists()
    _, log = finish(start(vigor.root, tmp_path))

    assert "Going on from step" in log or kill_at < 12
    ours, theirs = final_state(tmp_path, steps), final_state(workdir, steps)
    assert int(theirs["state"]["step"]) == int(theirs["plan"]["recorded"]) == steps
    assert (theirs["plan"]["base"] >= 0).any()
    assert np.asarray(theirs["state"]["carry"]["pool"]["embeddings"]).any()
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    histories = [[without_measured(row) for row in rows(each)] for each in (workdir, tmp_path)]
    assert histories[0] == histories[1], f"killed after step {kill_at}"


def test_no_data_at_the_root(start, tmp_path):
    """In a process of its own: the exit code is what a shell sees."""
    process = start(tmp_path / "nowhere", tmp_path / "run", f"--config.data.data_dir={tmp_path}")
    out, error = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "Traceback" not in error
    for part in (f"error: no VIGOR data at --config.data.root='{tmp_path / 'nowhere'}'", "configs/demo.py"):
        assert part in error
    assert out == ""


def test_a_checkpoint_of_another_model(start, vigor, unbroken):
    process = start(vigor.root, unbroken[0], "--config.model.num_heads=4")
    _, error = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "Traceback" not in error
    for part in (
        f"{unbroken[0] / 'checkpoints'} is of another model:",
        "params/aerial_aggregation/bias_out: float32 [4, 2] in the checkpoint, float32 [4, 4] in this model",
        "Give another --workdir",
    ):
        assert part in error


def test_a_checkpoint_of_another_split(start, vigor, unbroken):
    process = start(vigor.root, unbroken[0], "--config.data.validation_fraction=0.2")
    _, error = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "Traceback" not in error
    assert re.search(r"fingerprint of training panoramas: '(\w{64})' in the checkpoint, '(?!\1)\w{64}' now", error)
    assert "changed besides: config.data.validation_fraction: 0.05 -> 0.2" in error


def cut(mini):
    path = mini.root / "Seattle" / "panorama" / mini.panoramas["Seattle"][3]
    path.write_bytes(path.read_bytes()[:-200])
    return str(path), "truncated", "vigor-jax check --root="


def drop_a_column(mini):
    path = mini.root / "splits__corrected" / "Chicago" / "same_area_balanced_test__corrected.txt"
    lines = path.read_text().split("\n")
    lines[1] = lines[1].rsplit(" ", 1)[0]
    path.write_text("\n".join(lines))
    return f"{path}, line 2: 12 columns, expected 13", "mend the line"


def lose_a_tile(mini):
    path = mini.root / "Chicago" / "satellite" / mini.tiles["Chicago"][mini.references["Chicago"][0, 0]]
    path.unlink()
    return f"{path.parent}: 1 of Chicago's 12", path.name, "Extract the images again"


@pytest.mark.parametrize("damage", [cut, drop_a_column, lose_a_tile])
def test_damaged_data_is_named_file_by_file(damage, run_command, write_mini_vigor, tmp_path, capsys):
    parts = damage(write_mini_vigor(tmp_path / "VIGOR"))
    tree = {
        "name": "damaged",
        "task": "cross_view",
        "epochs": 1,
        "data": {
            "name": "vigor",
            "root": str(tmp_path / "VIGOR"),
            "data_dir": str(tmp_path / "prepared"),
            "train_cities": ("Seattle",),
            "test_cities": ("Chicago",),
            "protocols": ("cross_area",),
        },
        "model": {"aggregation": "safa"},
        "batch": {"size": 8},
    }
    own = f"import ml_collections\n\ndef get_config():\n    return ml_collections.ConfigDict({tree!r})\n"
    (tmp_path / "damaged.py").write_text(own)
    assert run_command("train", f"--config={tmp_path / 'damaged.py'}", f"--workdir={tmp_path / 'run'}") == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    (message,) = [line for line in error.splitlines() if line.startswith("error: ")]
    for part in parts:
        assert part in message
