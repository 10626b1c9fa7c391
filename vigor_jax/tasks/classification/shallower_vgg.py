"""The trained shallow VGG that a run of a deeper one starts from."""

from pathlib import Path

from vigor_jax import tasks
from vigor_jax.config import ConfigError
from vigor_jax.models.variables import Variables
from vigor_jax.tasks.classification.config import ClassificationConfig
from vigor_jax.workdir import finished_run

_SHALLOW = ("vgg11", "vgg11_lrn")  # A and A-LRN, whose outer layers every deeper configuration has


def read(config: ClassificationConfig) -> Variables | None:
    """The variables of the run that `config.classifier.shallower` names; None if it names none.

    What of them a deeper network takes over says `models.vgg_from_shallower`, which also compares the shapes.

    Raises:
      UserError: there is no finished run, or its checkpoint is damaged.
      ConfigError: it is a run of another network, or of one that did not start from random weights.
    """
    name = config.classifier.shallower
    if not name:
        return None
    run = finished_run.read(Path(name), tasks.parse_stored)
    where = f"config.classifier.shallower = {name!r}"
    if run.config.task != config.task:
        raise ConfigError(f"{where}: a run of the task {run.config.task!r}. Name one of {config.task!r}.")
    theirs = run.config.classifier
    if theirs.backbone not in _SHALLOW:
        raise ConfigError(f"{where}: a run of {theirs.backbone}. Name one of {' or '.join(_SHALLOW)}.")
    if theirs.pretrained:
        # Its pixels would be scaled as the file's authors did.
        raise ConfigError(
            f"{where}: it started from the weight file {theirs.pretrained!r}. Name a run that started from random "
            "weights, or give the deeper network a weight file of its own as config.classifier.pretrained."
        )
    if theirs.preprocessing != config.classifier.preprocessing:
        raise ConfigError(
            f"{where}: it was trained with config.classifier.preprocessing = {theirs.preprocessing!r}, this one has "
            f"{config.classifier.preprocessing!r}. Its layers expect the same pixels: set it alike."
        )
    return run.variables
