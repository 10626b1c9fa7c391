"""A finished cross-view run as a teacher: its model and weights, and whether a student can learn from it."""

import dataclasses
from pathlib import Path

import jax
from jaxtyping import Array, Float, UInt8

from vigor_jax import tasks
from vigor_jax.config import ConfigError
from vigor_jax.models import CrossViewModel
from vigor_jax.models.variables import Variables
from vigor_jax.tasks.cross_view.model import cross_view_model, embedding_dim
from vigor_jax.tasks.cross_view.towers import read_weights
from vigor_jax.tasks.distillation.config import CrossViewDistillationConfig
from vigor_jax.workdir import finished_run


@dataclasses.dataclass(frozen=True)
class CrossViewTeacher:
    """What a student learns from.

    Attributes:
      model: of the teacher.
      variables: its weights and running statistics, on the host.
      digest: of the variables.
      dim: of its embeddings.
    """

    model: CrossViewModel
    variables: Variables
    digest: str
    dim: int

    def embeddings(
        self,
        variables: Variables,
        aerial: UInt8[Array, "batch aerial_height aerial_width 3"],
        ground: UInt8[Array, "batch ground_height ground_width 3"],
    ) -> tuple[Float[Array, "batch dim"], Float[Array, "batch dim"]]:
        """Of tiles and of panoramas, in evaluation mode: by running means, nothing dropped, no gradient.

        Args:
          variables: those of this teacher, where the computation finds them.
          aerial: tiles.
          ground: panoramas.
        """
        variables = jax.lax.stop_gradient(variables)
        return (
            self.model.apply(variables, aerial, "aerial", method="encode").embedding,
            self.model.apply(variables, ground, "ground", method="encode").embedding,
        )


def read(config: CrossViewDistillationConfig) -> CrossViewTeacher:
    """The teacher that the config of a student names.

    Raises:
      UserError: there is no finished run, or its checkpoint is damaged.
      ConfigError: it is a run of another task, or of images of another size.
    """
    workdir = Path(config.distillation.teacher)
    run = finished_run.read(workdir, tasks.parse_stored)
    where = f"config.distillation.teacher = {config.distillation.teacher!r}"
    if run.config.task not in ("cross_view", "cross_view_distillation"):
        raise ConfigError(
            f"{where}: a run of the task {run.config.task!r}, whose embeddings are not those of tiles and panoramas. "
            "Name a run of 'cross_view'."
        )
    for key in ("aerial_size", "ground_size"):
        theirs, ours = getattr(run.config.data, key), getattr(config.data, key)
        if theirs != ours:
            raise ConfigError(
                f"config.data.{key} = {ours}: the teacher in {workdir} was trained on images of {theirs} pixels, and "
                f"both see the same images. Set config.data.{key}={theirs}."
            )
    _, preprocessing = read_weights(run.config.model, run.resolved.get("preprocessing"))
    model = cross_view_model(run.config.model, preprocessing)
    variables = {name: collection for name, collection in run.variables.items() if name != "teacher"}
    return CrossViewTeacher(
        model, variables, finished_run.digest(variables), embedding_dim(model, config.data.aerial_size)
    )
