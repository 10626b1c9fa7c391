"""main.py in several processes on one machine: the run of one process, whoever computes it."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

ROOT = Path(__file__).parents[2]
BATCH = 4
# Runs main.py, and says which slots of which batches it read and which files it opened to write. Compiling is most of
# what these runs do, so two layers of VGG are left, one split and one of the colour baselines.
_MAIN = """
import json, sys
from vigor_jax.datasets import protocol
from vigor_jax.models import vgg
from vigor_jax.tasks.cross_view import baselines

vgg.CONVOLUTIONS["A"] = (1, 0, 0, 0, 1)
del baselines.BASELINES["colour_histogram"]
split = protocol.split

def first_split(*arguments, **named):
    splits = split(*arguments, **named)
    del splits.evaluations["same_area"]
    return splits

protocol.split = first_split
written = []

def watch(event, arguments):
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        written.append(str(arguments[0]))

import main
from vigor_jax.input import augmentation

read = []
draw = augmentation.draw

def recorded(seed, step, slot):
    read.append((step, slot))
    return draw(seed, step, slot)

augmentation.draw = recorded
sys.addaudithook(watch)
code = main.main(["main.py", *sys.argv[2:]])
with open(sys.argv[1], "w") as file:
    json.dump({"read": read, "written": written[:]}, file)
sys.exit(code)
"""
# The toy of tests/train.
_TOY = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("toy", sys.argv[2])
toy = sys.modules["toy"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toy)
from vigor_jax import console, tasks
from absl import flags as absl_flags
from vigor_jax.commands import flags
from vigor_jax.parallel import distributed

console.set_up()
code = 1
try:
    values = absl_flags.FlagValues()
    processes = flags.define_processes(values)
    values(sys.argv, known_only=True)
    distributed.join(processes())
    import jax

    from vigor_jax.train.loop import train_and_evaluate

    # Hosts that believed their own metric would cut the learning rate apart: the first one's never rises.
    scores = [0.5, 0.5, 0.5 + 1e-4 * jax.process_index(), 0.5 + 2e-4 * jax.process_index()]
    tasks.REGISTRY["toy"] = toy.toy_entry(
        lambda config: toy.ToyTask(steps_per_epoch=2, scores=scores, scores_by_epoch=True)
    )
    plateau = {"learning_rate": 1e-2, "schedule": "plateau", "plateau_patience": 1, "plateau_factor": 0.5}
    train_and_evaluate(toy.toy_config(epochs=4, optimizer=plateau), sys.argv[3])
    code = 0
finally:
    distributed.leave(code)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory, write_mini_vigor):
    """The whole method on a hundred tiles, as small as can be."""
    folder = tmp_path_factory.mktemp("raw")
    city = {"cities": ("Seattle",), "rows": 10, "columns": 10, "panoramas": 100, "trains": 70}
    mini = write_mini_vigor(folder / "VIGOR", noise=40, **city)

    return {
        "name": "tiny",
        "task": "cross_view",
        "data": {
            "name": "vigor",
            "root": str(mini.root),
            "data_dir": str(folder / "prepared"),
            "train_cities": ("Seattle",),
            "protocols": ("same_area",),
            "aerial_size": (32, 32),
            "ground_size": (32, 64),
            "validation_fraction": 0.2,
        },
        "model": {
            "aggregation": "safa",
            "backbone": "vgg11",
            "width": 0.05,
            "num_heads": 2,
            "centre_descriptor": True,
            "final_pool": False,
            "offset_head": "regression",
            "dtype": "float32",
        },
        # Semi-positives and offsets all the time; after the first epoch half of each batch is mined.
        "loss": {"iou_form": "difference", "iou_weight": 0.1, "offset_weight": 0.01},
        "mining": {"enabled": True, "from_epoch": 2, "hardest": 5},
        "optimizer": {"learning_rate": 1e-3},
        "batch": {"size": BATCH, "augment": True},
        "epochs": 2,
        "evaluate_every_epochs": 2,
        "eval_batch_size": 16,
        "log_every_steps": 1,
        "input_threads": 2,
    }


@pytest.fixture
def hosts(tmp_path):
    """`(count, devices, script, *arguments) -> [(exit code, output, log, what it said)]` of so many processes."""
    environment = os.environ | {
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # as in this process
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT),
    }

    def run(count, devices, script, *arguments):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
        processes = []
        for index in range(count):
            command = [sys.executable, "-c", script, tmp_path / f"{index}.json", *arguments]
            if count > 1:
                command += [f"--coordinator_address={address}", f"--num_processes={count}", f"--process_id={index}"]
            processes.append(
                subprocess.Popen(
                    command,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        try:
            outputs = [process.communicate(timeout=500) for process in processes]
        finally:
            for process in processes:
                process.kill()
        return [
            (process.returncode, *output, tmp_path / f"{index}.json")
            for index, (process, output) in enumerate(zip(processes, outputs, strict=True))
        ]

    return run


def rows(workdir):
    """What was logged but for what the clock and the machine say, which differs in every start."""
    measured = ("examples_per_s", "_ms", "data_wait", "slowest_host", "_gib")
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if not any(part in key for part in measured)} for line in lines]


def stored(workdir, step, *items):
    """What is in a checkpoint: the state with the mining pool, the plan with the mined table."""
    reader = ocp.PyTreeCheckpointer()

    def read(path):
        arrays = reader.metadata(path).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), arrays)
        return reader.restore(path, restore_args=as_numpy)

    return {item: read(workdir / "checkpoints" / str(step) / item) for item in items}


def write_config(path, tree):
    """The flag that names it."""
    path.write_text(f"import ml_collections\n\n\ndef get_config():\n    return ml_collections.ConfigDict({tree!r})\n")
    return f"--config={path}"


@pytest.mark.long
def test_two_processes_are_one(tree, hosts, tmp_path):
    """Bit for bit, as the sum over two devices is the same in both orders; on more, see below."""
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    flag = write_config(tmp_path / "tiny.py", tree)
    ((code, _, log, _),) = hosts(1, 2, _MAIN, flag, f"--workdir={whole}")
    assert code == 0, log
    both = hosts(2, 1, _MAIN, flag, f"--workdir={parted}")
    assert [code for code, *_ in both] == [0, 0], both[0][2] + both[1][2]

    theirs = rows(parted)
    steps = theirs[-1]["step"]
    assert steps > 17  # the lag: mined batches know of mined tiles
    assert [row["step"] for row in theirs] == [*range(1, steps + 1), steps]
    assert theirs == rows(whole)
    assert {"validation/top1", "validation/median_m", "validation/mean_colour_top1"} <= set(theirs[-1])
    summary = json.loads((parted / "summary.json").read_text())
    assert (summary["throughput"]["hosts"], summary["throughput"]["devices"]) == (2, 2)
    ours, theirs = (stored(workdir, steps, "state", "plan") for workdir in (whole, parted))
    assert (ours["plan"]["base"] >= 0).any()
    jax.tree.map(np.testing.assert_array_equal, theirs, ours)

    for host, (_, _, _, said) in enumerate(both):
        said = json.loads(said.read_text())
        own = {host * BATCH // 2 + row for row in range(BATCH // 2)}
        assert {(step, slot) for step in range(steps) for slot in own} <= set(map(tuple, said["read"]))
        assert {slot for _, slot in said["read"]} == own
        names = {os.path.relpath(path, parted) for path in said["written"] if Path(path).is_relative_to(parted)}
        names = {name for name in names if not name.startswith("checkpoints")}
        assert host == 0 or names == set()
        assert host == 1 or {"metrics.jsonl", "findings.tmp", "summary.tmp"} <= names
    assert len(list(parted.glob("events.*"))) == 1
    assert {path.name for path in parted.iterdir() if not path.name.startswith("events.")} == {
        *("checkpoints", "findings.npz", "metrics.jsonl", "report.html", "summary.json")
    }
    (_, out, log, _), (_, out_1, log_1, _) = both
    assert "2 hosts with 2 devices, by the flags." in log
    assert f"Report: {parted / 'report.html'}" in log
    assert "validation" in out
    assert log_1 == ""
    assert all(line.startswith("[Gloo]") for line in out_1.splitlines())


def test_four_processes_go_on_with_what_one_began(hosts, tmp_path):
    """To the rounding of float32: each of the ways adds the four devices' shares of the gradient in its own order."""
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    toy = ROOT / "tests" / "train" / "conftest.py"
    ((code, _, log, _),) = hosts(1, 4, _TOY, toy, whole)
    assert code == 0, log
    shutil.copytree(whole, parted)
    (parted / "summary.json").unlink()
    for later in (6, 8):
        shutil.rmtree(parted / "checkpoints" / str(later))
    four = hosts(4, 1, _TOY, toy, parted)
    assert [code for code, *_ in four] == [0] * 4, "\n".join(log for _, _, log, _ in four)
    assert "Going on from step 4." in four[0][2]
    assert [log.count("so the learning rate is multiplied by 0.5") for _, _, log, _ in four] == [2, 0, 0, 0]
    ours, theirs = rows(whole), rows(parted)
    assert [row["step"] for row in theirs] == [row["step"] for row in ours]
    for mine, other in zip(ours, theirs, strict=True):
        assert other == pytest.approx(mine, rel=1e-5)
    ours, theirs = (stored(workdir, 8, "state") for workdir in (whole, parted))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), theirs, ours)


def test_without_data_all_end_and_one_says_why(tree, hosts, tmp_path):
    data = tree["data"] | {"root": str(tmp_path / "nowhere"), "data_dir": str(tmp_path / "prepared")}
    flag = write_config(tmp_path / "tiny.py", tree | {"data": data})
    both = hosts(2, 1, _MAIN, flag, f"--workdir={tmp_path / 'run'}")
    (code, _, log, _), (code_1, _, log_1, _) = both
    assert (code, code_1) == (2, 2)
    assert f"error: no VIGOR data at --config.data.root='{tmp_path / 'nowhere'}'" in log
    assert log_1.startswith("[host 1] error: Stopped with host 0: ")
    assert len(log_1.splitlines()) == 1
    assert not (tmp_path / "run").exists()
