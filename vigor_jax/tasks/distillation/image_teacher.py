"""A network that tells images apart as a teacher: a finished run of a classifier, or a backbone with a weight file."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float, UInt8

from vigor_jax import tasks
from vigor_jax.config import ConfigError
from vigor_jax.models.classifier import Classifier, classifier
from vigor_jax.models.descriptor import unit_norm
from vigor_jax.models.preprocessing import preprocess
from vigor_jax.models.pretrained import WeightFileError
from vigor_jax.models.pretrained.loading import load
from vigor_jax.models.variables import Variables
from vigor_jax.tasks.classification import network
from vigor_jax.tasks.distillation.config import ImageDistillationConfig
from vigor_jax.workdir import finished_run


@dataclasses.dataclass(frozen=True)
class ImageTeacher:
    """What a student learns from.

    Attributes:
      model: of the teacher; its logits are not computed.
      preprocessing: that its weights expect.
      variables: its weights and running statistics, without those of the logits; on the host.
      digest: of the variables.
      dim: of its embeddings.
    """

    model: Classifier
    preprocessing: str
    variables: Variables
    digest: str
    dim: int

    def embeddings(
        self,
        variables: Variables,
        images: UInt8[Array | np.ndarray, "batch height width 3"],
        colour_shift: Float[Array | np.ndarray, "batch 3"] | None = None,
    ) -> Float[Array, "batch dim"]:
        """What its logits are made of, scaled to unit length; in evaluation mode and without a gradient.

        Args:
          variables: those of this teacher, where the computation finds them.
          images: RGB.
          colour_shift: of each, as of `preprocess`.
        """
        variables = jax.lax.stop_gradient(variables)
        pixels = preprocess(images, self.preprocessing, colour_shift)
        return unit_norm(self.model.apply(variables, pixels, method="features"))


def read(config: ImageDistillationConfig) -> ImageTeacher:
    """The teacher that the config of a student names.

    Raises:
      UserError: there is no finished run, its checkpoint is damaged, or the weight file does not fit.
      ConfigError: it is a run of another task, or was trained on images of another size.
    """
    if config.distillation.teacher_backbone:
        model, preprocessing, variables = _of_file(config)
    else:
        model, preprocessing, variables = _of_run(config)
    side = config.images.crop
    shape = jax.eval_shape(
        lambda each: model.apply(each, jnp.zeros((1, side, side, 3)), method="features"), variables
    ).shape
    return ImageTeacher(model, preprocessing, variables, finished_run.digest(variables), shape[1])


def _of_run(config: ImageDistillationConfig) -> tuple[Classifier, str, Variables]:
    workdir = Path(config.distillation.teacher)
    run = finished_run.read(workdir, tasks.parse_stored)
    theirs = getattr(run.config, "classifier", None)
    if theirs is None:
        raise ConfigError(
            f"config.distillation.teacher = {config.distillation.teacher!r}: a run of the task {run.config.task!r}, "
            "which has no classifier. Name a run of 'classification', or a weight file and its "
            "config.distillation.teacher_backbone."
        )
    if run.config.images.crop != config.images.crop:
        raise ConfigError(
            f"config.images.crop = {config.images.crop}: the teacher in {workdir} was trained on crops of "
            f"{run.config.images.crop} pixels, and both see the same images. Set config.images.crop="
            f"{run.config.images.crop}."
        )
    model = classifier(theirs.backbone, 1, dtype=jnp.dtype(theirs.dtype), image_size=run.config.images.crop)
    preprocessing = run.resolved.get("preprocessing") or network.read_weights(model, theirs)[1]
    variables = {name: collection for name, collection in run.variables.items() if name != "teacher"}
    return model, preprocessing, without_logits(variables)


def _of_file(config: ImageDistillationConfig) -> tuple[Classifier, str, Variables]:
    name, path = config.distillation.teacher_backbone, config.distillation.teacher
    model = classifier(name, 1, dtype=jnp.dtype(config.classifier.dtype), image_size=config.images.crop)
    loaded = load(model, name, path, allow_partial=True)
    images = jnp.zeros((1, config.images.crop, config.images.crop, 3))
    wanted = jax.eval_shape(lambda key: model.init(key, images, method="features"), jax.random.key(0))
    wanted, found = (set(traverse_util.flatten_dict(tree, sep="/")) for tree in (wanted, loaded.variables))
    if wanted - found or loaded.report.unexpected:
        raise WeightFileError(f"{path} does not fit {name}: {loaded.report.troubles()}.")
    return model, loaded.preprocessing, without_logits(loaded.variables)


def without_logits(variables: Variables) -> Variables:
    """What an embedding needs of a classifier's variables."""
    return {
        name: {module: arrays for module, arrays in collection.items() if module != "logits"}
        for name, collection in variables.items()
    }
