"""Distillation of a cross-view model: a small student learns the embeddings of a finished, larger one."""

from collections.abc import Callable

import jax
from absl import logging

from vigor_jax.config import ConfigError
from vigor_jax.encoding.stopping import never
from vigor_jax.losses import embedding_distance
from vigor_jax.models.cross_view import CrossViewModel, training_pairs
from vigor_jax.models.variables import Variables
from vigor_jax.tasks.cross_view.model import cross_view_model, embedding_dim
from vigor_jax.tasks.cross_view.task import CrossView
from vigor_jax.tasks.distillation import cross_view_teacher
from vigor_jax.tasks.distillation.config import CrossViewDistillationConfig
from vigor_jax.tasks.distillation.same_teacher import TEACHER, SameTeacher, divided
from vigor_jax.tasks.embedding_spread import spread
from vigor_jax.tasks.task import Carry, Evaluated, LossOutput

_COMPARED = ("top1", "top5", "top10", "top1_percent", "hit_rate")


class CrossViewDistillation(SameTeacher, CrossView):
    """A student trained to its teacher's unit embeddings of the same images, in both views (MobileNet, section 2.7).

    The loss is the mean of ||s - t||^2 over the tiles and the panoramas of the batch and nothing else: no label, no
    regularisation. Which panorama lies in which tile only decides how batches are drawn, and the evaluation.

    The teacher is encoded in evaluation mode; where its variables lie, and why, says `same_teacher`.

    A student need not centre its descriptors: the bias of its last linear layer learns the mean once, where centring
    would take a batch's off in training and a running one in evaluation, an error that no training removes.
    """

    def __init__(self, config: CrossViewDistillationConfig):
        """As `CrossView`, and reads the teacher.

        Raises:
          UserError: there is no finished run, or its checkpoint is damaged; or anything that `CrossView` raises.
          ConfigError: the teacher is of another task or of other images, or the sizes of the embeddings differ.
        """
        self._teacher = cross_view_teacher.read(config)
        SameTeacher.__init__(self, config.distillation.teacher, self._teacher.digest)
        CrossView.__init__(self, config)
        self.fingerprint["teacher"] = self._teacher.digest
        self._teacher_evaluation = self._evaluation_of(self._teacher.model, None)
        self._teacher_metrics: dict[str, float] | None = None

    def _create_model(self, preprocessing: str) -> CrossViewModel:
        config, dim = self._config, self._teacher.dim
        model = cross_view_model(
            config.model, preprocessing, projection_dim=dim if config.distillation.projection else 0
        )
        own_dim = embedding_dim(model, config.data.aerial_size)
        if own_dim != dim:
            raise ConfigError(
                f"config.distillation.projection = False: the student's embeddings have {own_dim} numbers "
                f"and the teacher's {dim}. Set it to True, or make config.model.num_heads times the channels of a head "
                f"{dim}."
            )
        logging.info("The teacher is %s: embeddings of %d numbers.", config.distillation.teacher, dim)
        return model

    def init(self, key: jax.Array) -> Variables:
        """Fresh variables of the student, and the teacher's."""
        return {**super().init(key), TEACHER: self._teacher.variables}

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
        # Otherwise every device would drop the same features.
        dropout = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        pairs, model_state = training_pairs(
            self._model,
            student,
            batch["aerial"],
            batch["ground"],
            dropout=dropout,
            micro_batch_size=self._config.micro_batch_size,
            axis_name=axis_name,
        )
        aerial, ground = self._teacher.embeddings(teacher, batch["aerial"], batch["ground"])
        distances = {
            "aerial_distance": embedding_distance(pairs.aerial, aerial, axis_name=axis_name),
            "ground_distance": embedding_distance(pairs.ground, ground, axis_name=axis_name),
        }
        spreads = {
            "aerial_spread": spread(pairs.aerial, axis_name),
            "ground_spread": spread(pairs.ground, axis_name),
        }
        loss = (distances["aerial_distance"] + distances["ground_distance"]) / 2
        return loss, LossOutput(model_state, distances | spreads)

    def evaluate(
        self, variables: Variables, mesh: jax.sharding.Mesh, should_stop: Callable[[], bool] = never
    ) -> Evaluated:
        """As of `CrossView`, and beside each recall `teacher_<recall>`, found in the same way by the teacher.

        `top1_of_teacher` is the quotient of the student's top-1 and the teacher's; absent where the latter is 0.
        """
        student, teacher = divided(variables)
        if self._teacher_metrics is None:
            encodings = self._teacher_evaluation.encode(teacher, mesh, should_stop)
            found = self._teacher_evaluation.measure(teacher, encodings, should_stop)
            self._teacher_metrics = {
                f"{split}/teacher_{name}": found.metrics[f"{split}/{name}"]
                for split in self._splits
                for name in _COMPARED
            }
        evaluated = super().evaluate(student, mesh, should_stop)
        metrics = evaluated.metrics | self._teacher_metrics
        for split in self._splits:
            if metrics[f"{split}/teacher_top1"] > 0:
                metrics[f"{split}/top1_of_teacher"] = metrics[f"{split}/top1"] / metrics[f"{split}/teacher_top1"]
        return Evaluated(metrics, evaluated.findings)

    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        """The row of each split, with the teacher's recall in it."""
        return {
            split: row | {f"teacher@{k}": f"{100 * metrics[f'{split}/teacher_top{k}']:.1f}" for k in (1, 5)}
            for split, row in super().table(metrics).items()
        }

    def diagnose(self, metrics: dict[str, float]) -> str | None:
        """Names a collapsed student: all its embeddings of a view are equal."""
        smallest = min(metrics["aerial_spread"], metrics["ground_spread"])
        if smallest > 1e-3:
            return None
        return (
            f"The student has collapsed: all its embeddings of a view are equal (spread {smallest:.1e}). Try a lower "
            "config.optimizer.learning_rate, a larger config.model.aggregation_std or pretrained weights."
        )
