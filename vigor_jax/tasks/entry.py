"""What the registry knows of a task before it is made: light to import, so that a wrong config fails at once."""

import dataclasses
import types
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vigor_jax.config import Config

if TYPE_CHECKING:
    from vigor_jax.report.page import Content
    from vigor_jax.tasks.task import ModelEvaluation, Task
    from vigor_jax.workdir.finished_run import FinishedRun
    from vigor_jax.workdir.results import Results


Resolved = Mapping[str, Any]
NOTHING_RESOLVED: Resolved = types.MappingProxyType({})  # at the first start of a run


@dataclasses.dataclass(frozen=True)
class TaskEntry:
    """A task, by what it needs; its functions import what they need when they are called.

    Attributes:
      config: its schema, with the checks of its values (`Config.check`).
      create: makes it, of a config of that schema and of what an earlier start of the run resolved (`Task.resolved`).
      load: opens the data set that such a config names, or prepares it; with `verify=True` it also compares what was
        prepared before with what was written. None where there is no data on disk.
      report: makes what a page of its runs has of its own, of a run's results and its data; None for nothing.
      evaluation: makes what evaluates a finished run without what only trains, of the run, its config (which may differ
        in what is evaluated, and how) and the names of the splits, none for all. None: a task as it trains does.
    """

    config: type[Config]
    create: "Callable[[Any, Resolved], Task]"
    load: Callable[..., Any] | None = None
    report: "Callable[[Results, Any], Content] | None" = None
    evaluation: "Callable[[FinishedRun, Any, Sequence[str]], ModelEvaluation] | None" = None
