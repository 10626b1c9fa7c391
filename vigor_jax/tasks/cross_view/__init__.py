"""Cross-view geo-localization: street panoramas and the aerial tiles that contain them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vigor_jax.tasks.cross_view.config import CrossViewConfig, PairConfig
from vigor_jax.tasks.entry import Resolved, TaskEntry

if TYPE_CHECKING:
    from vigor_jax.datasets.cross_view import CrossViewData
    from vigor_jax.report.page import Content
    from vigor_jax.tasks.task import ModelEvaluation, Task
    from vigor_jax.workdir.finished_run import FinishedRun
    from vigor_jax.workdir.results import Results


def load(config: PairConfig, *, verify: bool = False) -> "CrossViewData":
    """Opens or prepares the cities of a config."""
    from vigor_jax import datasets

    return datasets.load(config.data, config.rendered_city, verify=verify)


def _report(results: "Results", data: "CrossViewData") -> "Content":
    """Makes what the page of a run shows of its queries."""
    from vigor_jax.tasks.cross_view.report import content

    return content(results, data)


def _create(config: CrossViewConfig, resolved: Resolved) -> "Task":
    from vigor_jax.tasks.cross_view.task import CrossView

    return CrossView(config, resolved)


def _evaluation(run: "FinishedRun", config: CrossViewConfig, splits: Sequence[str]) -> "ModelEvaluation":
    from vigor_jax.tasks.cross_view.task import evaluation_of_run

    return evaluation_of_run(run, config, splits)


ENTRY = TaskEntry(CrossViewConfig, _create, load, _report, _evaluation)
