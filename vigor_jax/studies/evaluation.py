"""A finished run evaluated again: on some of its splits, on other data, in another way, by any checkpoint it kept.

Nothing is trained, so nothing of what training alone needs is read: raw data, or the weight file that the run started
from.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flax
import jax
from jax.sharding import Mesh

from vigor_jax import config as configs
from vigor_jax import tasks
from vigor_jax.config import Config, ConfigError
from vigor_jax.encoding.stopping import never
from vigor_jax.models.variables import Variables
from vigor_jax.parallel import hosts
from vigor_jax.parallel.mesh import replicated
from vigor_jax.tasks.task import Evaluated, ModelEvaluation, Task, chosen_splits
from vigor_jax.workdir.finished_run import FinishedRun

# Beginnings of the keys that say what is evaluated, and how. All others are of the model, or of its training.
_OF_EVALUATION = (
    "data.",
    "images.",
    "rendered_city.",
    "seed",
    "eval_",
    "input_threads",
    "classifier.test_",
    "classifier.crops_per_side",
    "classifier.dtype",
    "model.dtype",
    "model.cell_position",
    "geocells.place_at",
)


@dataclasses.dataclass(frozen=True)
class RunEvaluation:
    """What an evaluation of a run found.

    Attributes:
      workdir: of the run.
      config: of the run, with what was changed.
      step: of the checkpoint.
      epoch: as of `FinishedRun`.
      metrics: {"<split>/<metric>": value}.
      table: of each split its columns, as training prints them.
    """

    workdir: Path
    config: Config
    step: int
    epoch: int
    metrics: dict[str, float]
    table: dict[str, dict[str, str]]


def evaluate(run: FinishedRun, config: Config, mesh: Mesh, splits: Sequence[str] = ()) -> RunEvaluation:
    """Evaluates a run; called on every host.

    Args:
      run: read from its workdir.
      config: of the run, but for what says what is evaluated and how.
      mesh: of the devices to compute on.
      splits: to evaluate; none named: all.

    Raises:
      ConfigError: the config differs in what the model is.
      UserError: there is no such split, or anything of the data.
    """
    require_same_model(run.config, config)
    # Host 0 prepares the data that is not prepared yet; the others find it, or prepare their own.
    evaluation = hosts.first_then_others(lambda: _evaluation(run, config, splits))
    variables = _on_devices(run.variables, mesh)
    try:
        metrics = evaluation(variables, mesh).metrics | evaluation.at_end(variables, mesh)
    except flax.errors.ScopeParamShapeError as error:
        raise ConfigError(
            f"the model of {run.workdir} does not take such images: {error}. Leave config.data and config.images as "
            "they were in the sizes that its layers are made for."
        ) from error
    return RunEvaluation(run.workdir, config, run.step, run.epoch, metrics, evaluation.table(metrics))


def require_same_model(trained: Config, asked: Config) -> None:
    """Refuses a config by which the model would be another one than was trained.

    Raises:
      ConfigError: names the first key.
    """
    before, now = _flat(configs.to_dict(trained)), _flat(configs.to_dict(asked))
    for key in before | now:
        if before.get(key) != now.get(key) and not key.startswith(_OF_EVALUATION):
            raise ConfigError(
                f"config.{key} = {now.get(key)!r}: the run was trained with {before.get(key)!r}. An evaluation takes "
                "the model as it was trained; what it can change begins with "
                f"{', '.join(f'config.{each}' for each in _OF_EVALUATION)}."
            )


def _evaluation(run: FinishedRun, config: Config, splits: Sequence[str]) -> ModelEvaluation:
    entry = tasks.entry(config.task)
    if entry.evaluation is not None:
        return entry.evaluation(run, config, splits)
    return _ByTask(entry.create(config), splits)


class _ByTask(ModelEvaluation):
    """An evaluation by a task made as for training, of which some splits are kept."""

    def __init__(self, task: Task, splits: Sequence[str]):
        self._task, self._splits = task, splits

    def __call__(self, variables: Variables, mesh: Mesh, should_stop: Callable[[], bool] = never) -> Evaluated:
        evaluated = self._task.evaluate(variables, mesh, should_stop)
        there = [*dict.fromkeys(name.split("/")[0] for name in evaluated.metrics)]
        self._splits = chosen_splits(self._splits, there)
        return Evaluated(self._kept(evaluated.metrics), self._kept(evaluated.findings))

    def at_end(self, variables: Variables, mesh: Mesh, should_stop: Callable[[], bool] = never) -> dict[str, float]:
        return self._kept(self._task.evaluate_at_end(variables, mesh, should_stop))

    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        return self._task.table(metrics)

    def _kept(self, found: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in found.items() if name.split("/")[0] in self._splits}


def _on_devices(variables: Variables, mesh: Mesh) -> Variables:
    sharding = replicated(mesh)
    return jax.tree.map(
        lambda array: jax.make_array_from_callback(array.shape, sharding, lambda index: array[index]), variables
    )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
