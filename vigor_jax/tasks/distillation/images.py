"""Distillation on images without labels: a small network learns what a larger one's logits are made of."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.encoding.on_host import HostEncoder
from vigor_jax.encoding.stopping import never
from vigor_jax.input.labelled_batches import centre_crops
from vigor_jax.losses import embedding_distance
from vigor_jax.models.descriptor import unit_norm
from vigor_jax.models.preprocessing import preprocess
from vigor_jax.models.pretrained.conversion import filled
from vigor_jax.models.variables import Variables
from vigor_jax.parallel.mesh import AXIS
from vigor_jax.retrieval.embedding_agreement import embedding_agreement, nearest_others
from vigor_jax.tasks.classification import network
from vigor_jax.tasks.distillation import image_teacher
from vigor_jax.tasks.distillation.config import ImageDistillationConfig
from vigor_jax.tasks.distillation.same_teacher import TEACHER, SameTeacher, divided
from vigor_jax.tasks.embedding_spread import spread
from vigor_jax.tasks.photo_training import PhotoTraining
from vigor_jax.tasks.task import Batch, Carry, Evaluated, LossOutput, Task

_PIXELS = 16  # side of the images whose pixels are compared


class ImageDistillation(Task):
    """A student trained to its teacher's unit embeddings of the same images (MobileNet, section 2.7).

    The teacher's embedding is what its logits are made of. The student is a classifier whose "logits" are the
    embedding: a linear layer to the teacher's size over its own backbone and head. Both are scaled to unit length, as
    FaceNet's are, so that the loss, the mean of ||s - t||^2, means the same for every teacher. Labels are never read.

    Where the teacher's variables lie, and why, says `same_teacher`.
    """

    selection_metric = "validation/cosine"
    memory_keys = Task.memory_keys | {"images.crop": "smaller; another result"}

    def __init__(self, config: ImageDistillationConfig, data: LabelledImages):
        """Reads the teacher, builds the student and plans the batches.

        Raises:
          UserError: there is no finished run, its checkpoint is damaged, or a weight file does not fit; fewer images
            than a batch holds.
          ConfigError: the teacher is of another task or of crops of another size.
        """
        self._config, self._data = config, data
        self._teacher = image_teacher.read(config)
        self._same_teacher = SameTeacher(config.distillation.teacher, self._teacher.digest, self._teacher.dim)
        self._model, self._preprocessing, pretrained = network.of(config, self._teacher.dim, axis_name=AXIS)
        # The logits of a file are of classes, whatever their number.
        self._pretrained = None if pretrained is None else image_teacher.without_logits(pretrained)
        self._training = PhotoTraining(config, data, with_labels=False)
        self.steps_per_epoch = self._training.steps_per_epoch
        self.fingerprint = self._training.fingerprint | {"teacher": self._teacher.digest}
        self._read = functools.partial(
            centre_crops,
            data,
            crop=config.images.crop,
            scale=max(config.classifier.test_scales),
            threads=config.input_threads,
        )
        self._of_student = HostEncoder(self._embed)
        self._of_teacher = HostEncoder(self._teacher.embeddings)
        self._of_pixels = HostEncoder(_pixels)
        self._targets: dict[str, np.ndarray] = {}
        self._baselines: dict[str, float] = {}

    def init(self, key: jax.Array) -> Variables:
        """Fresh variables of the student, those of a weight file if the config names one, and the teacher's."""
        side = self._config.images.crop
        fresh = jax.jit(lambda key: self._model.init(key, jnp.zeros((1, side, side, 3))))(key)
        student = fresh if self._pretrained is None else filled(self._pretrained, fresh)
        return {**student, TEACHER: self._teacher.variables}

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
        """`distance`, `cosine` and `agreement` of every split (`retrieval.embedding_agreement`).

        Beside them what needs no learning: `constant_distance` and `constant_cosine` of the constant nearest to the
        teacher's embeddings of the split, their mean; `pixel_agreement`, of the nearest neighbour by the pixels of
        small images; `chance_agreement`; and `images`, how many there are.
        """
        student, teacher = divided(variables)
        metrics: dict[str, float] = {}
        for split, rows in self._data.splits.items():
            if split not in self._targets:
                targets = self._encoded(self._of_teacher, teacher, rows, mesh, should_stop)
                self._baselines |= self._measured_baselines(split, rows, targets, mesh, should_stop)
                self._targets[split] = targets
            embeddings = self._encoded(self._of_student, student, rows, mesh, should_stop)
            found = embedding_agreement(embeddings, self._targets[split])
            metrics |= {f"{split}/{name}": value for name, value in found.items()}
        return Evaluated(metrics | self._baselines)

    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        """The row of each split measured."""
        columns = {
            "distance": "distance",
            "cosine": "cosine",
            "agreement": "agreement",
            "constant: distance": "constant_distance",
            "pixels: agreement": "pixel_agreement",
            "chance: agreement": "chance_agreement",
            "images": "images",
        }
        table = {}
        for split in self._data.splits:
            found = {column: metrics.get(f"{split}/{name}") for column, name in columns.items()}
            row = {
                column: f"{value:.0f}" if column == "images" else f"{value:.3f}"
                for column, value in found.items()
                if value is not None
            }
            if row:
                table[split] = row
        return table

    def report(self, workdir: Path) -> Path | None:
        """Writes `report.html`."""
        from vigor_jax import report  # its libraries take a second to load, which a start need not wait for

        return report.write(workdir)

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

    def _embed(self, variables: Variables, images: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch dim"]:
        return unit_norm(self._model.apply(variables, preprocess(images, self._preprocessing)))

    def _encoded(
        self,
        encoder: HostEncoder,
        variables: Variables,
        rows: Int[np.ndarray, "images"],
        mesh: jax.sharding.Mesh,
        should_stop: Callable[[], bool],
    ) -> Float[np.ndarray, "images dim"]:
        """What an encoder makes of the middle of each image."""
        size = self._config.eval_batch_size
        return encoder(variables, self._read, rows, mesh, batch_size=size, should_stop=should_stop)

    def _measured_baselines(
        self,
        split: str,
        rows: np.ndarray,
        targets: np.ndarray,
        mesh: jax.sharding.Mesh,
        should_stop: Callable[[], bool],
    ) -> dict[str, float]:
        constant = np.broadcast_to(np.asarray(unit_norm(targets.mean(axis=0, keepdims=True))), targets.shape)
        of_constant = embedding_agreement(constant, targets)
        found = {f"constant_{name}": of_constant[name] for name in ("distance", "cosine")}
        found["images"] = float(len(rows))
        if len(rows) > 2:
            pixels = self._encoded(self._of_pixels, {}, rows, mesh, should_stop)
            found["pixel_agreement"] = float(np.mean(nearest_others(pixels) == nearest_others(targets)))
            found["chance_agreement"] = 1 / (len(rows) - 1)
        return {f"{split}/{name}": value for name, value in found.items()}


def _pixels(_: Variables, images: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch values"]:
    """All values of the image scaled to few pixels, about grey."""
    small = jax.image.resize(jnp.asarray(images, jnp.float32), (len(images), _PIXELS, _PIXELS, 3), "linear")
    return unit_norm(small.reshape(len(images), -1) - 127.5)
