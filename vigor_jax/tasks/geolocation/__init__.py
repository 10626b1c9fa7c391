"""Where on earth a photo was taken, as one of the cells of the globe."""

from typing import TYPE_CHECKING

from vigor_jax.tasks.classification import load
from vigor_jax.tasks.entry import TaskEntry
from vigor_jax.tasks.geolocation.config import GeolocationConfig

if TYPE_CHECKING:
    from vigor_jax.datasets.labelled_images import LabelledImages
    from vigor_jax.report.page import Content
    from vigor_jax.tasks.task import Task
    from vigor_jax.workdir.results import Results


def _report(results: "Results", data: "LabelledImages") -> "Content":
    from vigor_jax.tasks.geolocation.report import content

    return content(results, data)


def _create(config: GeolocationConfig) -> "Task":
    from vigor_jax.tasks.geolocation.task import Geolocation

    return Geolocation(config, load(config))


ENTRY = TaskEntry(GeolocationConfig, _create, load, _report)
