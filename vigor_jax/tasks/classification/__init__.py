"""Classification of images: one label each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vigor_jax.tasks.classification.config import ClassificationConfig
from vigor_jax.tasks.entry import Resolved, TaskEntry

if TYPE_CHECKING:
    from vigor_jax.datasets.labelled_images import LabelledImages
    from vigor_jax.report.page import Content
    from vigor_jax.tasks.task import ModelEvaluation, Task
    from vigor_jax.workdir.finished_run import FinishedRun
    from vigor_jax.workdir.results import Results


def load(config: ClassificationConfig, *, verify: bool = False) -> "LabelledImages":
    """Opens or prepares the photos of a config."""
    from vigor_jax import datasets

    return datasets.load_images(config.images, config.rendered_city, verify=verify)


def _report(results: "Results", data: "LabelledImages") -> "Content":
    from vigor_jax.tasks.classification.report import content

    return content(results, data)


def _create(config: ClassificationConfig, resolved: Resolved) -> "Task":
    from vigor_jax.tasks.classification.measure import ClassMeasure
    from vigor_jax.tasks.classification.task import Classification

    data = load(config)
    return Classification(config, data, ClassMeasure(data), resolved)


def _evaluation(run: "FinishedRun", config: ClassificationConfig, splits: Sequence[str]) -> "ModelEvaluation":
    from vigor_jax.tasks.classification.measure import ClassMeasure
    from vigor_jax.tasks.classification.task import evaluation_of_run, with_splits

    data = with_splits(load(config), splits)
    return evaluation_of_run(run, config, data, ClassMeasure(data))


ENTRY = TaskEntry(ClassificationConfig, _create, load, _report, _evaluation)
