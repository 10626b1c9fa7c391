"""Distillation on images without labels: a small network learns what a larger one's logits are made of."""

from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.encoding.stopping import never
from vigor_jax.losses import embedding_distance
from vigor_jax.models.descriptor import unit_norm
from vigor_jax.models.preprocessing import preprocess
from vigor_jax.models.pretrained.conversion import filled
from vigor_jax.models.variables import Variables
from vigor_jax.parallel.mesh import AXIS
from vigor_jax.tasks.classification import network
from vigor_jax.tasks.classification.task import with_splits
from vigor_jax.tasks.distillation import image_teacher
from vigor_jax.tasks.distillation.config import ImageDistillationConfig
from vigor_jax.tasks.distillation.image_evaluation import AgreementWithTeacher
from vigor_jax.tasks.distillation.same_teacher import TEACHER, SameTeacher, divided
from vigor_jax.tasks.embedding_spread import spread
from vigor_jax.tasks.entry import NOTHING_RESOLVED, Resolved
from vigor_jax.tasks.photo_training import PhotoTraining
from vigor_jax.tasks.task import Batch, Carry, Evaluated, LossOutput, ModelEvaluation, Task
from vigor_jax.workdir.finished_run import FinishedRun


class ImageDistillation(Task):
    """A student trained to its teacher's unit embeddings of the same images (MobileNet, section 2.7).

    The teacher's embedding is what its logits are made of. The student is a classifier whose "logits" are the
    embedding: a linear layer to the teacher's size over its own backbone and head. Both are scaled to unit length, as
    FaceNet's are, so that the loss, the mean of ||s - t||^2, means the same for every teacher. Labels are never read.

    Where the teacher's variables lie, and why, says `same_teacher`.
    """

    selection_metric = "validation/cosine"
    memory_keys = Task.memory_keys | {"images.crop": "smaller; another result"}

    def __init__(self, config: ImageDistillationConfig, data: LabelledImages, resolved: Resolved = NOTHING_RESOLVED):
        """Reads the teacher, builds the student and plans the batches; `resolved` is of an earlier start.

        Raises:
          UserError: there is no finished run, its checkpoint is damaged, or a weight file does not fit; fewer images
            than a batch holds.
          ConfigError: the teacher is of another task or of crops of another size.
        """
        self._config, self._data = config, data
        self._teacher = image_teacher.read(config)
        self._same_teacher = SameTeacher(config.distillation.teacher, self._teacher.digest, self._teacher.dim)
        self._model, self._preprocessing, self._pretrained = network.of(
            config, self._teacher.dim, axis_name=AXIS, preprocessing=resolved.get("preprocessing")
        )
        self.resolved = {"preprocessing": self._preprocessing}
        self._training = PhotoTraining(config, data, with_labels=False)
        self.steps_per_epoch = self._training.steps_per_epoch
        self.fingerprint = self._training.fingerprint | {"teacher": self._teacher.digest}
        self._evaluation = AgreementWithTeacher(config, self._model, self._preprocessing, self._teacher, data)

    def init(self, key: jax.Array) -> Variables:
        """Fresh variables of the student, those of a weight file if the config names one, and the teacher's."""
        side = self._config.images.crop
        fresh = jax.jit(lambda key: self._model.init(key, jnp.zeros((1, side, side, 3))))(key)
        if not isinstance(key, jax.core.Tracer):  # otherwise its shapes alone are asked for
            pretrained = self._pretrained or network.read_weights(self._model, self._config.classifier)[0]
            if pretrained is not None:
                # The logits of a file are of classes, whatever their number.
                fresh = filled(image_teacher.without_logits(pretrained), fresh)
        return {**fresh, TEACHER: self._teacher.variables}

    def batches(self, first_step: int) -> Iterator[Batch]:
        """As of `PhotoTraining`."""
        return self._training.batches(first_step)

    def loss(
        self,
        variables: Variables,
        batch: dict[str, jax.Array],
        key: jax.Array,
        *,
        carry: Carry,
        axis_name: str,
    ) -> tuple[jax.Array, LossOutput]:
        """Mean over the global batch of the squared distance from the teacher's embedding."""
        student, teacher = divided(variables)
        # Otherwise every device would drop the same features.
        dropout = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        images, shift = batch["image"], batch.get("colour_shift")
        embeddings, model_state = self._model.apply(
            student,
            preprocess(images, self._preprocessing, shift),
            train=True,
            rngs={"dropout": dropout},
            mutable=[name for name in student if name != "params"],
        )
        embeddings = unit_norm(embeddings)
        targets = self._teacher.embeddings(teacher, images, shift)
        loss = embedding_distance(embeddings, targets, axis_name=axis_name)
        return loss, LossOutput(model_state, {"spread": spread(embeddings, axis_name)})

    def evaluate(
        self, variables: Variables, mesh: jax.sharding.Mesh, should_stop: Callable[[], bool] = never
    ) -> Evaluated:
        """Says how near the student is to its teacher on every split, beside what needs no learning."""
        return self._evaluation(variables, mesh, should_stop)

    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        """The row of each split measured."""
        return self._evaluation.table(metrics)

    def plan_state(self) -> dict[str, np.ndarray]:
        """Says which teacher it is."""
        return self._same_teacher.plan_state()

    def restore_plan(self, state: dict[str, np.ndarray]) -> None:
        """Requires the teacher that the run began with."""
        self._same_teacher.restore_plan(state)

    def diagnose(self, metrics: dict[str, float]) -> str | None:
        """Names a collapsed student: all its embeddings are equal."""
        if metrics["spread"] > 1e-3:
            return None
        return (
            f"The student has collapsed: all its embeddings are equal (spread {metrics['spread']:.1e}). Try a lower "
            "config.optimizer.learning_rate or config.classifier.pretrained."
        )


def evaluation_of_run(
    run: FinishedRun, config: ImageDistillationConfig, data: LabelledImages, splits: Sequence[str]
) -> ModelEvaluation:
    """Makes what evaluates a finished run; its teacher is read for what the model is.

    Raises:
      UserError: anything of the teacher or the splits.
    """
    teacher = image_teacher.read(config)
    student, preprocessing, _ = network.of(
        config, teacher.dim, axis_name=None, preprocessing=run.resolved.get("preprocessing")
    )
    return AgreementWithTeacher(config, student, preprocessing, teacher, with_splits(data, splits))
