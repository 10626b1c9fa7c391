"""What can be trained: one file and one registry line each."""

from collections.abc import Callable

from vigor_jax.config import Config, ConfigError
from vigor_jax.tasks.task import Task


def _classification(config: Config) -> Task:
    from vigor_jax import datasets
    from vigor_jax.tasks.class_measure import ClassMeasure
    from vigor_jax.tasks.classification import Classification

    data = datasets.load_images(config.images, config.rendered_city)
    return Classification(config, data, ClassMeasure(data))


def _cross_view(config: Config) -> Task:
    from vigor_jax.tasks.cross_view import CrossView

    return CrossView(config)


def _cross_view_distillation(config: Config) -> Task:
    from vigor_jax.tasks.cross_view_distillation import CrossViewDistillation

    return CrossViewDistillation(config)


def _image_distillation(config: Config) -> Task:
    from vigor_jax import datasets
    from vigor_jax.tasks.image_distillation import ImageDistillation

    return ImageDistillation(config, datasets.load_images(config.images, config.rendered_city))


def _geolocation(config: Config) -> Task:
    from vigor_jax import datasets
    from vigor_jax.tasks.geolocation import Geolocation

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
