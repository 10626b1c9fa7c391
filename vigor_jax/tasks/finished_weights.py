"""A finished run in the place of a weight file: where the next run starts, by the same strict report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from vigor_jax import tasks
from vigor_jax.config import ConfigError
from vigor_jax.models import registry
from vigor_jax.models.pretrained import loading, own_names
from vigor_jax.models.pretrained.loading import Loaded
from vigor_jax.models.variables import Variables
from vigor_jax.workdir import finished_run
from vigor_jax.workdir.finished_run import FinishedRun


def read(pretrained: str) -> FinishedRun | None:
    """Reads the run whose workdir a config names in the place of a weight file; None if it names no folder.

    Raises:
      UserError: the folder holds no finished run, or its checkpoint is damaged.
    """
    return finished_run.read(Path(pretrained), tasks.parse_stored) if Path(pretrained).is_dir() else None


def has_pairs(run: FinishedRun) -> bool:
    """Says whether a run's model is one of pairs of views, with a tower of each."""
    return "aerial_tower" in run.variables["params"]


def of_network(run: FinishedRun, module: nn.Module, backbone: str, *, allow_partial: bool = False) -> Loaded:
    """Takes the weights of a run on single photos, for a classifier or for its backbone alone.

    Args:
      run: of any task with a classifier.
      module: as of `models.pretrained.loading.load`, and so are `allow_partial` and the errors.
      backbone: of the module, a name of the registry.

    Raises:
      ConfigError: the run has another backbone, or none of single photos.
    """
    if has_pairs(run):
        raise ConfigError(
            f"{run.workdir} is a run of {run.config.task!r}, whose two towers are no one network. Name a run of "
            "'classification', or a weight file."
        )
    theirs = run.config.classifier.backbone
    if theirs != backbone:
        raise ConfigError(f"{run.workdir} is a run of {theirs}, whose weights are not those of {backbone}.")
    arrays = own_names.to_own_names(_of_the_model(run))
    loaded = loading.from_arrays(module, backbone, arrays, source=str(run.workdir), allow_partial=allow_partial)
    return loaded._replace(preprocessing=_preprocessing(run))


def of_pairs(run: FinishedRun, fresh: Variables) -> Variables:
    """Takes every variable of a run on pairs of views, in the place of freshly initialised ones.

    Args:
      run: whose model has the same parts of the same shapes.
      fresh: of the model that starts.

    Raises:
      UnfittingWeightsError: something is missing, unexpected or of another shape; with the report.
    """
    state = own_names.to_own_names(_of_the_model(run))
    variables, _ = own_names.matched(state, nn.Module(), fresh).load(source=str(run.workdir))
    return variables


def _preprocessing(run: FinishedRun) -> str:
    """What a run's weights expect: as it says, or, before that was stored, its config and what it started from."""
    if "preprocessing" in run.resolved:
        return run.resolved["preprocessing"]
    chosen = run.config.classifier
    if not chosen.pretrained:
        return chosen.preprocessing or registry.entry(chosen.backbone).preprocessing
    earlier = read(chosen.pretrained)
    if earlier is not None:
        return _preprocessing(earlier)
    module = registry.backbone(chosen.backbone)
    return loading.load(module, chosen.backbone, chosen.pretrained, allow_partial=True).preprocessing


def _of_the_model(run: FinishedRun) -> Mapping[str, Any]:
    """Without the teacher that a student's run holds beside its own variables."""
    return {name: collection for name, collection in run.variables.items() if name != "teacher"}
