"""ModelEvaluation of a student of images: how near its embeddings are to its teacher's, on every split."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.encoding.on_host import HostEncoder
from vigor_jax.encoding.stopping import never
from vigor_jax.input.labelled_batches import centre_crops
from vigor_jax.models.classifier import Classifier
from vigor_jax.models.descriptor import unit_norm
from vigor_jax.models.preprocessing import preprocess
from vigor_jax.models.variables import Variables
from vigor_jax.retrieval.embedding_agreement import embedding_agreement, nearest_others
from vigor_jax.tasks.distillation.config import ImageDistillationConfig
from vigor_jax.tasks.distillation.image_teacher import ImageTeacher
from vigor_jax.tasks.distillation.same_teacher import divided
from vigor_jax.tasks.task import Evaluated, ModelEvaluation

_PIXELS = 16  # side of the images whose pixels are compared
_COLUMNS = {
    "distance": "distance",
    "cosine": "cosine",
    "agreement": "agreement",
    "constant: distance": "constant_distance",
    "pixels: agreement": "pixel_agreement",
    "chance: agreement": "chance_agreement",
    "images": "images",
}


class AgreementWithTeacher(ModelEvaluation):
    """`distance`, `cosine` and `agreement` of every split (`retrieval.embedding_agreement`).

    Beside them what needs no learning: `constant_distance` and `constant_cosine` of the constant nearest to the
    teacher's embeddings of the split, their mean; `pixel_agreement`, of the nearest neighbour by the pixels of small
    images; `chance_agreement`; and `images`, how many there are. They are measured on the way of the first evaluation
    and kept, as are the teacher's embeddings.
    """

    def __init__(
        self,
        config: ImageDistillationConfig,
        student: Classifier,
        preprocessing: str,
        teacher: ImageTeacher,
        data: LabelledImages,
    ):
        """Compiles nothing yet.

        Args:
          config: with the groups `images` and `classifier`.
          student: of the variables.
          preprocessing: of the student, a name of `models.preprocessing`.
          teacher: whose variables are among those of the student.
          data: whose splits are evaluated.
        """
        self._data, self._batch_size = data, config.eval_batch_size
        self._read = functools.partial(
            centre_crops,
            data,
            crop=config.images.crop,
            scale=max(config.classifier.test_scales),
            threads=config.input_threads,
        )

        def embed(variables: Variables, images: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch dim"]:
            return unit_norm(student.apply(variables, preprocess(images, preprocessing)))

        self._of_student = HostEncoder(embed)
        self._of_teacher = HostEncoder(teacher.embeddings)
        self._of_pixels = HostEncoder(_pixels)
        self._targets: dict[str, np.ndarray] = {}
        self._baselines: dict[str, float] = {}

    def __call__(
        self, variables: Variables, mesh: jax.sharding.Mesh, should_stop: Callable[[], bool] = never
    ) -> Evaluated:
        """Of the student's variables, the teacher's among them.

        Raises:
          EvaluationStopped: `should_stop` said so.
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
        table = {}
        for split in self._data.splits:
            found = {column: metrics.get(f"{split}/{name}") for column, name in _COLUMNS.items()}
            row = {
                column: f"{value:.0f}" if column == "images" else f"{value:.3f}"
                for column, value in found.items()
                if value is not None
            }
            if row:
                table[split] = row
        return table

    def _encoded(
        self,
        encoder: HostEncoder,
        variables: Variables,
        rows: Int[np.ndarray, "images"],
        mesh: jax.sharding.Mesh,
        should_stop: Callable[[], bool],
    ) -> Float[np.ndarray, "images dim"]:
        """What an encoder makes of the middle of each image."""
        return encoder(variables, self._read, rows, mesh, batch_size=self._batch_size, should_stop=should_stop)

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
