"""A small student learns the embeddings of a larger teacher."""

from typing import TYPE_CHECKING

from vigor_jax.tasks import classification, cross_view
from vigor_jax.tasks.distillation.config import CrossViewDistillationConfig, ImageDistillationConfig
from vigor_jax.tasks.entry import TaskEntry

if TYPE_CHECKING:
    from vigor_jax.tasks.task import Task


def _create_for_pairs(config: CrossViewDistillationConfig) -> "Task":
    from vigor_jax.tasks.distillation.cross_view import CrossViewDistillation

    return CrossViewDistillation(config)


def _create_for_images(config: ImageDistillationConfig) -> "Task":
    from vigor_jax.tasks.distillation.images import ImageDistillation

    return ImageDistillation(config, classification.load(config))


CROSS_VIEW = TaskEntry(CrossViewDistillationConfig, _create_for_pairs, cross_view.load, cross_view.ENTRY.report)
IMAGES = TaskEntry(ImageDistillationConfig, _create_for_images, classification.load)
