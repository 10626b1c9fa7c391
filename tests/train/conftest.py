"""A task small enough to check by hand: two linear towers on random bytes."""

import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax import config, tasks
from vigor_jax.encoding.stopping import EvaluationStopped, never
from vigor_jax.input.sampling import host_rows
from vigor_jax.tasks.entry import TaskEntry
from vigor_jax.tasks.task import Evaluated, LossOutput, Task

ALPHA = 5.0


def unit(rows):
    return rows / jnp.linalg.norm(rows, axis=1, keepdims=True)


@dataclasses.dataclass
class ToyTask(Task):
    """Ground [batch, 6] and aerial [batch, 5] bytes, embedded in 4 dimensions by one matrix each."""

    batch_size: int = 8
    steps_per_epoch: int = 4
    seed: int = 0
    width: int = 4
    nonfinite_batch: int = -1  # this batch asks for an infinite loss
    batch_seconds: float = 0.0  # to make a batch
    evaluation_batches: int = 0  # for each of which `should_stop` is asked; they take as long
    evaluations_begun: int = 0
    collapsed_below: float = -1.0  # the loss that is diagnosed
    selection_metric: str | None = "validation/top1"
    fingerprint: dict = dataclasses.field(default_factory=lambda: {"data": "toy"})
    scores: list = dataclasses.field(default_factory=list)  # what each evaluation finds; then 0.5
    scores_by_epoch: bool = False  # they are of the epochs, whichever start evaluates them
    evaluated_steps: list = dataclasses.field(default_factory=list)
    metrics_at_end: frozenset = frozenset()  # each is the step
    ended_steps: list = dataclasses.field(default_factory=list)

    def init(self, key):
        ground, aerial = jax.random.split(key)
        params = {
            "ground": jax.random.normal(ground, (6, self.width)),
            "aerial": jax.random.normal(aerial, (5, self.width)),
        }
        return {"params": params, "statistics": {"mean": jnp.zeros(self.width), "batches": jnp.zeros(())}}

    def batch(self, step):
        random = np.random.default_rng((self.seed, step))
        poison = np.uint8(255 if step == self.nonfinite_batch else 0)
        return {
            "ground": random.integers(256, size=(self.batch_size, 6), dtype=np.uint8),
            "aerial": random.integers(256, size=(self.batch_size, 5), dtype=np.uint8),
            "poison": np.full(self.batch_size, poison),
        }

    def batches(self, first_step):
        step = first_step
        mine = host_rows(self.batch_size, jax.process_index(), jax.process_count())
        while True:
            time.sleep(self.batch_seconds)
            yield {name: rows[mine] for name, rows in self.batch(step).items()}
            step += 1

    def loss(self, variables, batch, key, *, carry, axis_name):
        params, statistics = variables["params"], variables["statistics"]
        ground = unit((batch["ground"] / 255.0 - 0.5) @ params["ground"])
        aerial = unit((batch["aerial"] / 255.0 - 0.5) @ params["aerial"])
        # Something random in every step, so that a resume with the wrong key is noticed.
        ground = ground * (1 + 0.01 * jax.random.normal(key, (self.width,)))
        every_ground = jax.lax.all_gather(ground, axis_name, tiled=True)
        every_aerial = jax.lax.all_gather(aerial, axis_name, tiled=True)
        count = len(every_ground)
        first = jax.lax.axis_index(axis_name) * len(ground)
        mine = first + jnp.arange(len(ground))
        positive = jnp.sum(ground * aerial, axis=1, keepdims=True)
        others = jnp.arange(count)[None] != mine[:, None]
        share = sum(
            jnp.sum(jnp.where(others, jax.nn.softplus(ALPHA * (scores - positive)), 0.0))
            for scores in (ground @ every_aerial.T, aerial @ every_ground.T)
        )
        loss = jax.lax.psum(share, axis_name) / (2 * count * (count - 1))
        poisoned = jax.lax.psum(jnp.sum(batch["poison"].astype(jnp.float32)), axis_name) > 0
        loss = jnp.where(poisoned, jnp.inf, loss)
        statistics = {
            "mean": 0.9 * statistics["mean"] + 0.1 * jax.lax.pmean(ground.mean(0), axis_name),
            "batches": statistics["batches"] + 1,
        }
        metrics = {"positive_similarity": jax.lax.pmean(positive.mean(), axis_name)}
        return loss, LossOutput({"statistics": statistics}, metrics)

    def evaluate(self, variables, mesh, should_stop=never):
        self.evaluations_begun += 1
        for _ in range(self.evaluation_batches):
            time.sleep(self.batch_seconds)
            if should_stop():
                raise EvaluationStopped
        step = int(variables["statistics"]["batches"])
        index = step // self.steps_per_epoch - 1 if self.scores_by_epoch else len(self.evaluated_steps)
        score = self.scores[index] if index < len(self.scores) else 0.5
        self.evaluated_steps.append(step)
        metrics = {"validation/top1": score, "same_area/top1": score / 2, "same_area/gallery": 100}
        return Evaluated(metrics, {"same_area/rank": np.array([step, 1, 0])})

    def evaluate_at_end(self, variables, mesh, should_stop=never):
        step = int(variables["statistics"]["batches"])
        for _ in self.metrics_at_end:
            if should_stop():
                raise EvaluationStopped
        self.ended_steps.append(step)
        return dict.fromkeys(self.metrics_at_end, step)

    def table(self, metrics):
        return {
            "validation": {"top-1": f"{metrics['validation/top1']:.3f}", "gallery": "20"},
            "same_area": {"top-1": f"{metrics['same_area/top1']:.3f}", "gallery": f"{metrics['same_area/gallery']}"},
        }

    def report(self, workdir):
        page = workdir / "report.html"
        page.write_text((workdir / "summary.json").read_text())
        return page

    def diagnose(self, metrics):
        return "the toy has collapsed" if metrics["loss"] < self.collapsed_below else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyConfig(config.Config):
    """Of the toy, which could encode its batch in parts."""

    micro_batch_size: int = 0


def toy_entry(create):
    """What the registry holds of a toy."""
    return TaskEntry(ToyConfig, lambda config, resolved: create(config))


def toy_tree(**changes):
    """Two epochs of four steps; a checkpoint every three steps and after every epoch."""
    tree = {
        "name": "toy",
        "task": "toy",
        "epochs": 2,
        "optimizer": {"learning_rate": 1e-2},
        "batch": {"size": 8},
        "log_every_steps": 2,
        "checkpoint_every_steps": 3,
    }
    return tree | changes


def toy_config(**changes):
    """As `toy_tree`, checked."""
    return config.parse(toy_tree(**changes), ToyConfig)


@pytest.fixture(name="toy_config", scope="session")
def toy_config_fixture():
    """`(**changes) -> Config`."""
    return toy_config


@pytest.fixture(name="toy_entry", scope="session")
def toy_entry_fixture():
    """`(create) -> TaskEntry`."""
    return toy_entry


@pytest.fixture
def register_toy(monkeypatch):
    """`(task) -> None`: makes it the task that "toy" names."""
    return lambda task: monkeypatch.setitem(tasks.REGISTRY, "toy", toy_entry(lambda config: task))


class ToyProcesses:
    """Starts toy_main.py as processes, in `directory`; they end with the test."""

    directory = Path(__file__).parent

    def __init__(self):
        self._started = []

    def environment(self, *, signs="", devices=2, **settings):
        """Variables of a process whose toy has these settings; `signs` is a folder for its signs of progress."""
        return os.environ | {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
            "PYTHONPATH": str(self.directory.parents[1]),
            "TOY": json.dumps({"steps_per_epoch": 20, **settings}),
            "SIGNS": str(signs),
        }

    def __call__(self, workdir, *flags, **variables):
        command = [sys.executable, "toy_main.py", "--config=toy_main.py", f"--workdir={workdir}", *flags]
        process = subprocess.Popen(
            command,
            env=self.environment(**variables),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.directory,
        )
        self._started.append(process)
        return process

    def end(self):
        for process in self._started:
            process.kill()
            process.communicate()


@pytest.fixture
def start_toy():
    """`(workdir, *flags, **environment) -> process`; see ToyProcesses."""
    processes = ToyProcesses()
    yield processes
    processes.end()


@pytest.fixture(scope="session")
def toy_task():
    """The class; tests choose the sizes."""
    return ToyTask


def toy_loss_by_loops(params, batch, noise):
    """The toy's loss in float64, triplet by triplet."""

    def embed(view):
        rows = (batch[view] / 255.0 - 0.5) @ params[view]
        return rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))

    ground, aerial = embed("ground") * (1 + 0.01 * noise), embed("aerial")
    terms = []
    for i in range(len(ground)):
        positive = ground[i] @ aerial[i]
        for j in range(len(ground)):
            if j != i:
                terms.append(math.log1p(math.exp(ALPHA * (ground[i] @ aerial[j] - positive))))
                terms.append(math.log1p(math.exp(ALPHA * (ground[j] @ aerial[i] - positive))))
    assert len(terms) == 2 * len(ground) * (len(ground) - 1)
    return sum(terms) / len(terms)


def loss_and_gradient_by_loops(params, batch, noise):
    """Loss, and its gradient by central differences."""
    params = {name: np.asarray(value, np.float64) for name, value in params.items()}
    gradient = {name: np.zeros_like(value) for name, value in params.items()}
    for name, value in params.items():
        for index in np.ndindex(value.shape):
            losses = []
            for change in (1e-5, -1e-5):
                moved = value.copy()
                moved[index] += change
                losses.append(toy_loss_by_loops(params | {name: moved}, batch, noise))
            gradient[name][index] = (losses[0] - losses[1]) / 2e-5
    return toy_loss_by_loops(params, batch, noise), gradient


@pytest.fixture(scope="session")
def by_loops():
    """`(params, batch, noise) -> (loss, gradient)` of the toy, by explicit loops over the triplets."""
    return loss_and_gradient_by_loops
