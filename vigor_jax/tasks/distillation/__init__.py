"""A small student learns the embeddings of a larger teacher."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vigor_jax.tasks import classification, cross_view
from vigor_jax.tasks.distillation.config import CrossViewDistillationConfig, ImageDistillationConfig
from vigor_jax.tasks.entry import Resolved, TaskEntry

if TYPE_CHECKING:
    from vigor_jax.tasks.task import ModelEvaluation, Task
    from vigor_jax.workdir.finished_run import FinishedRun


def _create_for_pairs(config: CrossViewDistillationConfig, resolved: Resolved) -> "Task":
    from vigor_jax.tasks.distillation.cross_view import CrossViewDistillation

    return CrossViewDistillation(config, resolved)


def _create_for_images(config: ImageDistillationConfig, resolved: Resolved) -> "Task":
    from vigor_jax.tasks.distillation.images import ImageDistillation

    return ImageDistillation(config, classification.load(config), resolved)


def _evaluation_for_pairs(
    run: "FinishedRun", config: CrossViewDistillationConfig, splits: Sequence[str]
) -> "ModelEvaluation":
    from vigor_jax.tasks.distillation.cross_view import evaluation_of_run

    return evaluation_of_run(run, config, splits)


def _evaluation_for_images(
    run: "FinishedRun", config: ImageDistillationConfig, splits: Sequence[str]
) -> "ModelEvaluation":
    from vigor_jax.tasks.distillation.images import evaluation_of_run

    return evaluation_of_run(run, config, classification.load(config), splits)


CROSS_VIEW = TaskEntry(
    CrossViewDistillationConfig, _create_for_pairs, cross_view.load, cross_view.ENTRY.report, _evaluation_for_pairs
)
IMAGES = TaskEntry(ImageDistillationConfig, _create_for_images, classification.load, evaluation=_evaluation_for_images)
