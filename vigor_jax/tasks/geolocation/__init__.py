"""Where on earth a photo was taken, as one of the cells of the globe."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vigor_jax.tasks.classification import load
from vigor_jax.tasks.entry import Resolved, TaskEntry
from vigor_jax.tasks.geolocation.config import GeolocationConfig

if TYPE_CHECKING:
    from vigor_jax.datasets.labelled_images import LabelledImages
    from vigor_jax.report.page import Content
    from vigor_jax.tasks.task import ModelEvaluation, Task
    from vigor_jax.workdir.finished_run import FinishedRun
    from vigor_jax.workdir.results import Results


def _report(results: "Results", data: "LabelledImages") -> "Content":
    from vigor_jax.tasks.geolocation.report import content

    return content(results, data)


def _create(config: GeolocationConfig, resolved: Resolved) -> "Task":
    from vigor_jax.tasks.geolocation.task import Geolocation

    return Geolocation(config, load(config), resolved)


def _evaluation(run: "FinishedRun", config: GeolocationConfig, splits: Sequence[str]) -> "ModelEvaluation":
    from vigor_jax.tasks.geolocation.task import evaluation_of_run

    return evaluation_of_run(run, config, load(config), splits)


ENTRY = TaskEntry(GeolocationConfig, _create, load, _report, _evaluation)
