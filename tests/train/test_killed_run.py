"""A process that is killed at a random step and started again ends with the bits of one that never was."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from vigor_jax.config import OptimizerConfig
from vigor_jax.train import mesh as meshes
from vigor_jax.train import optimizer as optimizers
from vigor_jax.train import state as states
from vigor_jax.train.checkpoint import Checkpoints

STEPS = 60
SCRIPT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("toy", sys.argv[1])
toy = sys.modules["toy"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toy)
from vigor_jax import console, tasks
from vigor_jax.train.loop import train_and_evaluate

console.set_up()
tasks.REGISTRY["toy"] = lambda config: toy.ToyTask(steps_per_epoch=20, batch_seconds=float(sys.argv[3]))
train_and_evaluate(toy.toy_config(epochs=3, log_every_steps=1, checkpoint_every_steps=7), sys.argv[2])
"""


@pytest.fixture
def start(tmp_path):
    """`(workdir, seconds a batch) -> process` training the toy on two devices; ended with the test."""
    script = tmp_path / "train_toy.py"
    script.write_text(SCRIPT)
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    processes = []

    def run(workdir, batch_seconds):
        command = [sys.executable, script, Path(__file__).with_name("conftest.py"), workdir, str(batch_seconds)]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def rows(workdir):
    path = workdir / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def kill_after(process, workdir, step):
    deadline = time.monotonic() + 60
    while not any(json.loads(line)["step"] >= step for line in rows(workdir) if line.endswith("}")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def finish(process):
    _, log = process.communicate(timeout=120)
    assert process.returncode == 0, log
    return log


def final_state(workdir, task):
    into = states.abstract(task, optimizers.create(OptimizerConfig()), 0, meshes.data_mesh(jax.devices()[:1]))
    with Checkpoints(workdir / "checkpoints", newest=3, selection_metric=task.selection_metric) as checkpoints:
        assert checkpoints.latest() == STEPS
        return jax.device_get(checkpoints.restore(STEPS, into))


def test_killed_twice_ends_with_the_same_bits(start, toy_task, without_measured, tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    uninterrupted = start(unbroken, 0.0)
    kills = sorted(random.SystemRandom().sample(range(1, STEPS - 15), 2))
    for step in kills:
        kill_after(start(broken, 0.02), broken, step)
    assert not (broken / "summary.json").exists()
    log = finish(start(broken, 0.0))
    finish(uninterrupted)

    assert "Going on from step" in log or kills[1] < 7
    jax.tree.map(np.testing.assert_array_equal, final_state(unbroken, toy_task()), final_state(broken, toy_task()))
    histories = [[without_measured(json.loads(line)) for line in rows(workdir)] for workdir in (unbroken, broken)]
    assert histories[0] == histories[1], f"killed after steps {kills}"
