"""No moment of a kill or a stop changes after which evaluations the learning rate is cut, nor anything else."""

import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from vigor_jax import tasks
from vigor_jax.encoding.stopping import EvaluationStopped
from vigor_jax.errors import Preempted
from vigor_jax.parallel import mesh as meshes
from vigor_jax.train import loop
from vigor_jax.train import optimizer as optimizers
from vigor_jax.train import state as states
from vigor_jax.train.checkpoint import Checkpoints, ResumeError

# Of the epochs. With a patience of two the rate is cut after the fourth and the eighth.
SCORES = [0.3, 0.5, 0.5, 0.4, 0.5, 0.6, 0.1, 0.6, 0.5, 0.7]
PLATEAU = {"name": "sgd", "learning_rate": 0.5, "schedule": "plateau", "plateau_patience": 2}


class Killed(BaseException):
    """Stands for SIGKILL: nothing between it and the test catches it."""


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def final_state(workdir, task, config):
    into = states.abstract(task, optimizers.create(config.optimizer), config.seed, meshes.data_mesh())
    with Checkpoints(workdir / "checkpoints", newest=3, selection_metric=task.selection_metric) as checkpoints:
        return jax.device_get(checkpoints.restore(checkpoints.latest(), into))


def assert_equal_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def plateau_config(toy_config):
    """`(**changes) -> Config` of a run on the plateau, each of whose steps is logged."""
    return lambda **changes: toy_config(**{"epochs": len(SCORES), "optimizer": PLATEAU, "log_every_steps": 1} | changes)


@pytest.fixture(scope="module")
def run(toy_task, toy_entry):
    """`(config, workdir) -> workdir` of a run with the scores above that nothing interrupts."""

    def run(config, workdir):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(
                tasks.REGISTRY, "toy", toy_entry(lambda config: toy_task(scores=SCORES, scores_by_epoch=True))
            )
            loop.train_and_evaluate(config, workdir)
        return workdir

    return run


@pytest.fixture(scope="module")
def unbroken(plateau_config, run, tmp_path_factory):
    """The workdir of ten epochs."""
    return run(plateau_config(), tmp_path_factory.mktemp("unbroken"))


def test_the_logged_rate_is_the_true_one(unbroken):
    rates = [row["train/learning_rate"] for row in rows(unbroken) if "train/loss" in row]
    np.testing.assert_allclose(rates, [0.5] * 16 + [0.05] * 16 + [0.005] * 8, rtol=1e-6)


def test_the_steps_after_a_cut_are_shorter(unbroken, plateau_config, toy_task):
    """Against descent that is done here step by step, by the rates that there should be."""
    task, config, mesh = toy_task(), plateau_config(), meshes.data_mesh(jax.devices()[:1])
    params = jax.device_get(states.create(task, optimizers.create(config.optimizer), 0, mesh).params)
    velocity = jax.tree.map(np.zeros_like, params)

    def gradient_of(params, batch, step):
        def loss(params):
            variables = {"params": params, "statistics": {"mean": jnp.zeros(4), "batches": jnp.zeros(())}}
            return task.loss(variables, batch, states.step_key(0, step), carry={}, axis_name=meshes.AXIS)[0]

        return jax.grad(loss)(params)

    whole = PartitionSpec()
    gradient_of = meshes.pmap(gradient_of, mesh, (whole, PartitionSpec(meshes.AXIS), whole), whole)
    for step in range(40):
        rate = 0.5 if step < 16 else 0.05 if step < 32 else 0.005
        for name, slope in gradient_of(params, task.batch(step), jnp.int32(step)).items():
            velocity[name] = 0.9 * velocity[name] + np.asarray(slope)
            params[name] = params[name] - rate * velocity[name]
    found = final_state(unbroken, task, config).params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, params)


# What happens at which step, one in each start. Step 16 and 32 have the evaluations after which the rate is cut.
EVENTS = [
    ("killed training", 6),
    ("killed evaluating", 12),
    ("killed before the save", 16),
    ("stopped evaluating", 16),
    ("killed before the save", 16),
    ("stopped evaluating", 16),
    ("killed after the save", 16),
    ("stopped training", 18),
    ("killed before the save", 28),
    ("killed evaluating", 32),
    ("killed before the save", 32),
    ("stopped saving", 32),
]


def test_neither_kills_nor_stops_change_a_bit(
    unbroken, plateau_config, toy_task, register_toy, tmp_path, monkeypatch, without_measured
):
    config = plateau_config()
    left = list(EVENTS)

    def happens(*event):
        if left and left[0] == event:
            left.pop(0)
            return True
        return False

    class Interrupted(toy_task):
        def take_feedback(self, step, feedback):
            if happens("killed training", step):
                raise Killed
            if happens("stopped training", step):
                os.kill(os.getpid(), signal.SIGTERM)

        def evaluate(self, variables, mesh, should_stop):
            step = int(variables["statistics"]["batches"])
            if happens("killed evaluating", step):
                raise Killed
            if happens("stopped evaluating", step):
                os.kill(os.getpid(), signal.SIGTERM)
                while not should_stop():
                    pass
                raise EvaluationStopped
            return super().evaluate(variables, mesh, should_stop)

    class InterruptedSaves(Checkpoints):
        def save(self, step, *arguments, **named):
            if happens("killed before the save", step):
                raise Killed
            super().save(step, *arguments, **named)
            if happens("killed after the save", step):
                raise Killed
            if happens("stopped saving", step):
                os.kill(os.getpid(), signal.SIGTERM)

    starts = 0
    with monkeypatch.context() as patch:
        patch.setattr(loop, "Checkpoints", InterruptedSaves)
        while not (tmp_path / "broken" / "summary.json").exists():
            register_toy(Interrupted(scores=SCORES, scores_by_epoch=True))
            starts += 1
            try:
                loop.train_and_evaluate(config, tmp_path / "broken")
            except (Killed, Preempted):
                continue
    assert (starts, left) == (len(EVENTS) + 1, [])

    workdirs = [unbroken, tmp_path / "broken"]
    assert_equal_bits(*(final_state(workdir, toy_task(), config) for workdir in workdirs))
    histories = [[without_measured(row) for row in rows(workdir)] for workdir in workdirs]
    assert histories[0] == histories[1]


def test_an_evaluation_that_only_the_end_asks_for_decides_nothing(plateau_config, run, toy_task, tmp_path):
    """Given more epochs, the run has the rates of one that always had them: the 0.5 of epoch 5 would cut them."""
    short, long = (
        plateau_config(evaluate_every_epochs=2, checkpoint_every_steps=100, epochs=epochs) for epochs in (5, 9)
    )
    resumed, unbroken = tmp_path / "resumed", tmp_path / "unbroken"
    for config, workdir in ((short, resumed), (long, resumed), (long, unbroken)):
        run(config, workdir)
    found = [[row.get("train/learning_rate") for row in rows(workdir)] for workdir in (resumed, unbroken)]
    evaluated = [row["epoch"] for row in rows(resumed) if "epoch" in row]
    assert evaluated == [2, 4, 5, 6, 8, 9]
    assert_equal_bits(*(final_state(workdir, toy_task(), long) for workdir in (resumed, unbroken)))
    assert [rates.count(0.5) for rates in found] == [36, 36]


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        (
            {"schedule": "exponential", "name": "sgd"},
            r"opt_state/2/scale: float32 \[\] in the checkpoint, missing in this",
        ),
        ({"name": "rmsprop"}, r"opt_state/0/nu/aerial: missing in the checkpoint, float32 \[5, 4\] in this optimiser"),
    ],
)
def test_another_optimiser_or_schedule_does_not_fit_the_checkpoint(plateau_config, run, tmp_path, changed, found):
    run(plateau_config(epochs=1), tmp_path)
    with pytest.raises(ResumeError, match=f"is of another optimiser:(.|\n)*{found}"):
        run(plateau_config(optimizer={"learning_rate": 0.5} | changed), tmp_path)
