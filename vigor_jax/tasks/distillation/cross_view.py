"""Distillation of a cross-view model: a small student learns the embeddings of a finished, larger one."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from vigor_jax.config import ConfigError
from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.datasets.protocol import EvaluationSplit
from vigor_jax.encoding.stopping import never
from vigor_jax.losses import embedding_distance
from vigor_jax.models import CrossViewModel
from vigor_jax.models.variables import Variables
from vigor_jax.tasks.cross_view.config import MiningConfig
from vigor_jax.tasks.cross_view.evaluation import Evaluation
from vigor_jax.tasks.cross_view.model import cross_view_model, embedding_dim
from vigor_jax.tasks.cross_view.pairs import PairTraining, load_splits
from vigor_jax.tasks.cross_view.towers import TrainedTowers, check_towers, read_weights
from vigor_jax.tasks.distillation import cross_view_teacher
from vigor_jax.tasks.distillation.config import CrossViewDistillationConfig
from vigor_jax.tasks.distillation.same_teacher import TEACHER, SameTeacher, divided
from vigor_jax.tasks.entry import NOTHING_RESOLVED, Resolved
from vigor_jax.tasks.task import Batch, Carry, Evaluated, LossOutput, ModelEvaluation, Task
from vigor_jax.workdir.finished_run import FinishedRun

_COMPARED = ("top1", "top5", "top10", "top1_percent", "hit_rate")


class CrossViewDistillation(Task):
    """A student trained to its teacher's unit embeddings of the same images, in both views (MobileNet, section 2.7).

    The loss is the mean of ||s - t||^2 over the tiles and the panoramas of the batch and nothing else: no label, no
    regularisation. Which panorama lies in which tile only decides how batches are drawn, and the evaluation.

    The teacher is encoded in evaluation mode; where its variables lie, and why, says `same_teacher`.

    A student need not centre its descriptors: the bias of its last linear layer learns the mean once, where centring
    would take a batch's off in training and a running one in evaluation, an error that no training removes.
    """

    selection_metric: str | None = "validation/top1"

    def __init__(self, config: CrossViewDistillationConfig, resolved: Resolved = NOTHING_RESOLVED):
        """Reads the teacher, makes the student, and opens the data set; `resolved` is of an earlier start.

        Raises:
          UserError: there is no finished run, or its checkpoint is damaged; or anything of the towers, the data, the
            split, the batch plan or the weights that cannot work.
          ConfigError: the teacher is of another task or of other images, or the sizes of the embeddings differ.
        """
        check_towers(config)  # first: reading the teacher takes longer
        self._teacher = cross_view_teacher.read(config)
        self._same_teacher = SameTeacher(config.distillation.teacher, self._teacher.digest, self._teacher.dim)
        self._towers = _student(config, resolved, self._teacher.dim)
        self._pairs = PairTraining(config)
        self.selection_metric = self._pairs.selection_metric
        self.steps_per_epoch = self._pairs.steps_per_epoch
        # Nothing is mined; but so the fingerprints of all checkpoints say it.
        self.fingerprint = self._pairs.fingerprint | {
            "mining": dataclasses.asdict(MiningConfig()),
            "teacher": self._teacher.digest,
        }
        self.resolved, self.memory_keys = self._towers.resolved, self._towers.memory_keys
        data, splits = self._pairs.data, self._pairs.evaluations
        self._evaluation = _BesideTeacher.of(config, self._towers.model, self._teacher.model, data, splits)

    def init(self, key: jax.Array) -> Variables:
        """Makes fresh variables of the student, beside the teacher's."""
        return {**self._towers.init(key), TEACHER: self._teacher.variables}

    def batches(self, first_step: int) -> Iterator[Batch]:
        """Reads batches as `PairTraining` does."""
        return self._pairs.batches(first_step)

    def loss(
        self,
        variables: Variables,
        batch: dict[str, jax.Array],
        key: jax.Array,
        *,
        carry: Carry,
        axis_name: str,
    ) -> tuple[jax.Array, LossOutput]:
        """Mean over all images of the global batch of the squared distance from the teacher's embedding."""
        student, teacher = divided(variables)
        pairs, model_state, spreads = self._towers.pairs(student, batch, None, key, axis_name)
        aerial, ground = self._teacher.embeddings(teacher, batch["aerial"], batch["ground"])
        distances = {
            "aerial_distance": embedding_distance(pairs.aerial, aerial, axis_name=axis_name),
            "ground_distance": embedding_distance(pairs.ground, ground, axis_name=axis_name),
        }
        loss = (distances["aerial_distance"] + distances["ground_distance"]) / 2
        return loss, LossOutput(model_state, distances | spreads)

    def evaluate(
        self, variables: Variables, mesh: jax.sharding.Mesh, should_stop: Callable[[], bool] = never
    ) -> Evaluated:
        """Evaluates as `CrossView` does, with the teacher's recalls beside the student's."""
        return self._evaluation(variables, mesh, should_stop)

    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        """The row of each split, with the teacher's recall in it."""
        return self._evaluation.table(metrics)

    def plan_state(self) -> dict[str, np.ndarray]:
        """Says which teacher it is."""
        return self._same_teacher.plan_state()

    def restore_plan(self, state: dict[str, np.ndarray]) -> None:
        """Requires the teacher that the run began with."""
        self._same_teacher.restore_plan(state)

    def report(self, workdir: Path) -> Path | None:
        """Writes `report.html`."""
        # Its libraries take a second to load, which a start need not wait for.
        from vigor_jax import report
        from vigor_jax.tasks.cross_view.report import content

        return report.write(workdir, functools.partial(content, data=self._pairs.data))

    def diagnose(self, metrics: dict[str, float]) -> str | None:
        """Names a collapsed student: all its embeddings of a view are equal."""
        smallest = min(metrics["aerial_spread"], metrics["ground_spread"])
        if smallest > 1e-3:
            return None
        return (
            f"The student has collapsed: all its embeddings of a view are equal (spread {smallest:.1e}). Try a lower "
            "config.optimizer.learning_rate, a larger config.model.aggregation_std or pretrained weights."
        )


def evaluation_of_run(run: FinishedRun, config: CrossViewDistillationConfig, splits: Sequence[str]) -> ModelEvaluation:
    """Makes what evaluates a finished run; its teacher's run is read for what the model is.

    Raises:
      UserError: anything of the teacher, the towers, the data or the splits.
    """
    check_towers(config)
    teacher = cross_view_teacher.read(config)
    data, found = load_splits(config, splits)
    _, preprocessing = read_weights(config.model, run.resolved.get("preprocessing"))
    student = cross_view_model(config.model, preprocessing, projection_dim=_projection_dim(config, teacher.dim))
    return _BesideTeacher.of(config, student, teacher.model, data, found)


class _BesideTeacher(ModelEvaluation):
    """The student's evaluation; beside each of its recalls stands `teacher_<recall>`, found by the teacher in that way.

    `top1_of_teacher` is the quotient of the student's top-1 and the teacher's; absent where the latter is 0.
    """

    def __init__(self, student: Evaluation, teacher: Evaluation):
        self._student, self._teacher = student, teacher
        self._of_teacher: dict[str, float] | None = None

    @classmethod
    def of(
        cls,
        config: CrossViewDistillationConfig,
        student: CrossViewModel,
        teacher: CrossViewModel,
        data: CrossViewData,
        splits: Mapping[str, EvaluationSplit],
    ) -> "_BesideTeacher":
        return cls(*(Evaluation.of(config, model, data, splits, offset=None) for model in (student, teacher)))

    def __call__(
        self, variables: Variables, mesh: jax.sharding.Mesh, should_stop: Callable[[], bool] = never
    ) -> Evaluated:
        student, teacher = divided(variables)
        if self._of_teacher is None:
            encodings = self._teacher.encode(teacher, mesh, should_stop)
            found = self._teacher.measure(teacher, encodings, should_stop)
            self._of_teacher = {
                f"{split}/teacher_{name}": found.metrics[f"{split}/{name}"]
                for split in self._teacher.splits
                for name in _COMPARED
            }
        evaluated = self._student(student, mesh, should_stop)
        metrics = evaluated.metrics | self._of_teacher
        for split in self._teacher.splits:
            if metrics[f"{split}/teacher_top1"] > 0:
                metrics[f"{split}/top1_of_teacher"] = metrics[f"{split}/top1"] / metrics[f"{split}/teacher_top1"]
        return Evaluated(metrics, evaluated.findings)

    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        return {
            split: row | {f"teacher@{k}": f"{100 * metrics[f'{split}/teacher_top{k}']:.1f}" for k in (1, 5)}
            for split, row in self._student.table(metrics).items()
        }


def _projection_dim(config: CrossViewDistillationConfig, teacher_dim: int) -> int:
    return teacher_dim if config.distillation.projection else 0


def _student(config: CrossViewDistillationConfig, resolved: Resolved, dim: int) -> TrainedTowers:
    """The towers of a student whose teacher's embeddings have so many numbers.

    Raises:
      ConfigError: its own have another number.
    """
    towers = TrainedTowers(config, resolved, projection_dim=_projection_dim(config, dim))
    own_dim = embedding_dim(towers.model, config.data.aerial_size)
    if own_dim != dim:
        raise ConfigError(
            f"config.distillation.projection = False: the student's embeddings have {own_dim} numbers "
            f"and the teacher's {dim}. Set it to True, or make config.model.num_heads times the channels of a head "
            f"{dim}."
        )
    return towers
