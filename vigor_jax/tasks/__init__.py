"""What can be trained: one file and one registry line each."""

import importlib
from collections.abc import Callable
from typing import Any

from vigor_jax.config import Config, ConfigError
from vigor_jax.tasks.task import Task


def _classification(config: Config) -> Task:
    from vigor_jax import datasets
    from vigor_jax.tasks.classification.measure import ClassMeasure
    from vigor_jax.tasks.classification.task import Classification

    data = datasets.load_images(config.images, config.rendered_city)
    return Classification(config, data, ClassMeasure(data))


def _cross_view(config: Config) -> Task:
    from vigor_jax.tasks.cross_view.task import CrossView

    return CrossView(config)


def _cross_view_distillation(config: Config) -> Task:
    from vigor_jax.tasks.distillation.cross_view import CrossViewDistillation

    return CrossViewDistillation(config)


def _image_distillation(config: Config) -> Task:
    from vigor_jax import datasets
    from vigor_jax.tasks.distillation.images import ImageDistillation

    return ImageDistillation(config, datasets.load_images(config.images, config.rendered_city))


def _geolocation(config: Config) -> Task:
    from vigor_jax import datasets
    from vigor_jax.tasks.geolocation.task import Geolocation

    return Geolocation(config, datasets.load_images(config.images, config.rendered_city))


# Factories import their task on call, so that asking for one task never loads the libraries of another.
REGISTRY: dict[str, Callable[[Config], Task]] = {
    "classification": _classification,
    "cross_view": _cross_view,
    "cross_view_distillation": _cross_view_distillation,
    "image_distillation": _image_distillation,
    "geolocation": _geolocation,
}


def create(config: Config) -> Task:
    """The task a config names.

    Raises:
      ConfigError: no task of that name.
    """
    if config.task not in REGISTRY:
        raise ConfigError(f"config.task = {config.task!r}. Allowed: {', '.join(sorted(REGISTRY))}.")
    return REGISTRY[config.task](config)


def report_section(task: str) -> "Callable[..., Any] | None":
    """What a task adds to the page of a run: `content(results, data)`; None if nothing."""
    if task in ("classification", "cross_view", "cross_view_distillation", "geolocation"):
        folder = "cross_view" if task.startswith("cross_view") else task
        return importlib.import_module(f"vigor_jax.tasks.{folder}.report").content
    return None
