"""A process that is killed at a random step and started again ends with the bits of one that never was."""

import functools
import json
import random
import signal
import time

import jax
import numpy as np

from vigor_jax.config import OptimizerConfig
from vigor_jax.parallel import mesh as meshes
from vigor_jax.train import optimizer as optimizers
from vigor_jax.train import plateau
from vigor_jax.train import state as states
from vigor_jax.train.checkpoint import Checkpoints

STEPS = 60
# Every evaluation finds the same, so every second one cuts the rate.
PLATEAU = OptimizerConfig(schedule="plateau", plateau_patience=2, plateau_factor=0.5, learning_rate=1e-2)
FLAGS = [
    "--config.epochs=12",
    *(
        f"--config.optimizer.{key}={getattr(PLATEAU, key)}"
        for key in ("schedule", "plateau_patience", "plateau_factor")
    ),
]


def rows(workdir):
    path = workdir / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def kill_after(process, workdir, step):
    deadline = time.monotonic() + 180
    while not any(json.loads(line)["step"] >= step for line in rows(workdir) if line.endswith("}")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def finish(process):
    _, log = process.communicate(timeout=300)
    assert process.returncode == 0, log
    return log


def final_state(workdir, task):
    into = states.abstract(task, optimizers.create(PLATEAU), 0, meshes.data_mesh(jax.devices()[:1]))
    with Checkpoints(workdir / "checkpoints", newest=3, selection_metric=task.selection_metric) as checkpoints:
        assert checkpoints.latest() == STEPS
        return jax.device_get(checkpoints.restore(STEPS, into))


def test_killed_twice_ends_with_the_same_bits(start_toy, toy_task, without_measured, tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    start = functools.partial(start_toy, steps_per_epoch=5)
    uninterrupted = start(unbroken, *FLAGS)
    # Slow batches and many steps to spare: on a busy machine the kill may come a second late, and not after the end.
    kills = sorted(random.SystemRandom().sample(range(1, STEPS - 25), 2))
    for step in kills:
        kill_after(start(broken, *FLAGS, batch_seconds=0.05), broken, step)
    assert not (broken / "summary.json").exists()
    log = finish(start(broken, *FLAGS))
    finish(uninterrupted)

    # After step 10 its checkpoint has begun, so the one of step 7 is complete.
    assert "Going on from step" in log or kills[1] < 11
    states_of_both = [final_state(workdir, toy_task()) for workdir in (unbroken, broken)]
    jax.tree.map(np.testing.assert_array_equal, *states_of_both)
    assert float(plateau.scaled(1.0, states_of_both[0].opt_state)) == 0.5**5
    histories = [[without_measured(json.loads(line)) for line in rows(workdir)] for workdir in (unbroken, broken)]
    assert histories[0] == histories[1], f"killed after steps {kills}"
