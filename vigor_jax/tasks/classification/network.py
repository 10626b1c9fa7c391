"""The network that a config's classifier group describes, and the weights that it starts from."""

from pathlib import Path

import jax
import jax.numpy as jnp
from absl import logging
from flax import traverse_util

from vigor_jax.config import ConfigError
from vigor_jax.models import registry
from vigor_jax.models.classifier import Classifier, classifier
from vigor_jax.models.pretrained import WeightFileError
from vigor_jax.models.pretrained.loading import load
from vigor_jax.models.variables import Variables
from vigor_jax.tasks import finished_weights
from vigor_jax.tasks.classification.config import ClassificationConfig, ClassifierConfig

_LOGITS = frozenset({"params/logits/kernel", "params/logits/bias"})


def of(
    config: ClassificationConfig, classes: int, *, axis_name: str | None, preprocessing: str | None = None
) -> tuple[Classifier, str, Variables | None]:
    """(The network, the name of its preprocessing, the variables of its weight file or None if it has none).

    Args:
      config: with the groups `images` and `classifier`.
      classes: how many.
      axis_name: of a mapped axis over which training normalises by the batch; None for a network that is only tested.
      preprocessing: of the run that trained it, whose weight file is not read; None: what the file says.

    Raises:
      UserError: there is no such backbone; its weight file does not fit.
    """
    chosen = config.classifier
    model = classifier(
        chosen.backbone,
        classes,
        dropout=None if chosen.dropout == -1 else chosen.dropout,
        dtype=jnp.dtype(chosen.dtype),
        image_size=config.images.crop,
        axis_name=axis_name,
        norm_momentum=chosen.norm_momentum or None,
        initialisation=chosen.initialisation or None,
    )
    if chosen.preprocessing and not chosen.pretrained:
        return model, chosen.preprocessing, None
    if preprocessing is not None:
        return model, preprocessing, None
    variables, preprocessing = read_weights(model, chosen)
    return model, preprocessing, variables


def read_weights(model: Classifier, chosen: ClassifierConfig) -> tuple[Variables | None, str]:
    """(variables of a file or a run, without logits of other classes, or None if none is named; their preprocessing).

    Raises:
      ConfigError: there is nothing at the path.
      WeightFileError: anything but the logits does not fit.
    """
    backbone, path = chosen.backbone, chosen.pretrained
    if not path:
        return None, chosen.preprocessing or registry.entry(backbone).preprocessing
    if not Path(path).exists():
        raise ConfigError(
            f"config.classifier.pretrained = {path!r}: nothing is there. Train that run first, by the config whose "
            f"name is {Path(path).name!r}, or name a weight file."
        )
    run = finished_weights.read(path)
    if run is None:
        loaded = load(model, backbone, path, allow_partial=True)
    else:
        loaded = finished_weights.of_network(run, model, backbone, allow_partial=True)
    side = 32 * getattr(model.head, "positions", 1)
    expected = jax.eval_shape(lambda key: model.init(key, jnp.zeros((1, side, side, 3))), jax.random.key(0))
    absent = set(traverse_util.flatten_dict(expected, sep="/")) - set(
        traverse_util.flatten_dict(loaded.variables, sep="/")
    )
    if absent - _LOGITS or loaded.report.unexpected:
        raise WeightFileError(
            f"config.classifier.pretrained = {path!r} does not fit {backbone}: {loaded.report.troubles()}. Only the "
            "logits may be of other classes."
        )
    if absent:
        logging.info("%s: its classes are others, so its logits are left out.", path)
    return loaded.variables, loaded.preprocessing
