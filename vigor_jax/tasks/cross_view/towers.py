"""Which towers a config can have, the weights that they start from, and what they make of a training batch."""

import functools
from typing import Any

import jax
import numpy as np
from absl import logging

from vigor_jax.config import ConfigError
from vigor_jax.errors import UserError
from vigor_jax.models import registry, towers
from vigor_jax.models.cross_view import Pairs, training_pairs
from vigor_jax.models.embedder import with_tower_weights
from vigor_jax.models.pretrained.loading import load
from vigor_jax.models.variables import Variables
from vigor_jax.tasks import finished_weights
from vigor_jax.tasks.cross_view.config import ModelConfig, PairConfig
from vigor_jax.tasks.cross_view.model import cross_view_model
from vigor_jax.tasks.embedding_spread import spread
from vigor_jax.tasks.entry import NOTHING_RESOLVED, Resolved


def check_towers(config: PairConfig) -> None:
    """Refuses backbones that are not there, and keys that do not go with the backbone.

    Raises:
      ConfigError: names the key, the value and what is allowed.
    """
    model = config.model
    try:
        entry = registry.entry(model.backbone)
    except registry.UnknownBackboneError as error:
        raise ConfigError(f"config.model.backbone = {model.backbone!r}: {error}") from error
    if model.width != 1 and not towers.has_width(model.backbone):
        raise ConfigError(
            f"config.model.width = {model.width}: {model.backbone} has the width that its name says; only VGG is made "
            "at any. Set config.model.width=1."
        )
    try:
        towers.map_stride(model.backbone, model.stride)
    except UserError as error:
        raise ConfigError(f"config.model.stride = {model.stride}: {error}") from error
    if model.norm_momentum and not entry.normalises_by_batch:
        raise ConfigError(
            f"config.model.norm_momentum = {model.norm_momentum}: {model.backbone} has no batch normalisation, so no "
            "running statistics. Set config.model.norm_momentum=0."
        )
    if config.micro_batch_size and entry.normalises_by_batch:
        raise ConfigError(
            f"config.micro_batch_size = {config.micro_batch_size}: config.model.backbone = {model.backbone!r} "
            "normalises by the batch, and by the statistics of a micro-batch it would be another model. Set "
            "config.micro_batch_size=0, or name a backbone without batch normalisation, such as vgg16 or convnext_tiny."
        )
    for key in ("aerial_size", "ground_size"):
        _check_positions(model, key, getattr(config.data, key))


def _check_positions(model: ModelConfig, key: str, size: tuple[int, int]) -> None:
    try:
        rows, columns = towers.positions(model.backbone, model.stride, size, final_pool=model.final_pool)
    except UserError as error:
        raise ConfigError(f"config.data.{key} = {size}: {error}") from error
    if model.aggregation == "safa" and rows * columns < 2:
        stride = towers.map_stride(model.backbone, model.stride)
        pooled = " and the pool behind it" if towers.is_pooled(stride, model.final_pool) else ""
        raise ConfigError(
            f"config.data.{key} = {size}: the map of stride {stride}{pooled} leaves one position, and the "
            "spatial-aware aggregation needs more. Enlarge the images, name a finer map with config.model.stride, or "
            "set config.model.final_pool=False."
        )


def read_weights(model: ModelConfig, preprocessing: str | None = None) -> tuple[dict[str, Any] | None, str]:
    """(variables of the backbone, or None without a file or where a run on pairs has both towers'; preprocessing).

    Args:
      model: of the config.
      preprocessing: of the run that trained the model, whose file is not read; None: what the file says.

    Raises:
      ConfigError: a run of another backbone.
      WeightFileError: of `models.pretrained.loading.load`.
    """
    if preprocessing is not None:
        return None, preprocessing
    if not model.pretrained:
        return None, registry.entry(model.backbone).preprocessing
    backbone, run = registry.backbone(model.backbone), finished_weights.read(model.pretrained)
    if run is None:
        loaded = load(backbone, model.backbone, model.pretrained)
    elif finished_weights.has_pairs(run):
        return None, read_weights(run.config.model, run.resolved.get("preprocessing"))[1]
    else:
        loaded = finished_weights.of_network(run, backbone, model.backbone)
    return loaded.variables, loaded.preprocessing


class TrainedTowers:
    """The cross-view model that a config describes, as a task trains it.

    Attributes:
      model: the module.
      resolved: of a task that trains it (`Task.resolved`).
      memory_keys: of a task that trains it (`Task.memory_keys`).
    """

    def __init__(self, config: PairConfig, resolved: Resolved = NOTHING_RESOLVED, *, projection_dim: int = 0):
        """Checks the config, reads the weights and makes the module.

        Args:
          config: of the run.
          resolved: by an earlier start, which makes the weights' file needless unless a fresh state is asked for.
          projection_dim: of a linear layer at the end; 0 for none.

        Raises:
          ConfigError: towers that cannot be.
          WeightFileError: of `models.pretrained.loading.load`.
        """
        check_towers(config)
        self._config = config
        # Of a first start the weights are read here: those that do not fit are to end it at once.
        preprocessing = resolved.get("preprocessing") or self._weights[1]
        self.resolved = {"preprocessing": preprocessing}
        if not config.model.pretrained:
            logging.info("The towers start from random weights, as config.model.pretrained names no file.")
        self.model = cross_view_model(config.model, preprocessing, projection_dim=projection_dim)
        self.memory_keys = _memory_keys(config.model)

    @functools.cached_property
    def _weights(self) -> tuple[dict[str, Any] | None, str]:
        return read_weights(self._config.model)

    def init(self, key: jax.Array) -> Variables:
        """Makes fresh variables; what the config names as pretrained is put in both towers, a run on pairs in all."""
        sizes = (self._config.data.aerial_size, self._config.data.ground_size)
        images = [np.zeros((1, *size, 3), np.uint8) for size in sizes]
        init = functools.partial(self.model.init, train=False)
        if isinstance(key, jax.core.Tracer):  # its shapes alone are asked for, whatever it starts from
            return init(key, *images)
        # It runs once: on CPUs LLVM's optimisation of every layer's random draws costs more than it saves.
        options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
        variables = jax.jit(init, compiler_options=options)(key, *images)
        weights, _ = self._weights
        if weights is not None:
            return with_tower_weights(variables, weights)
        if not self._config.model.pretrained:
            return variables
        return finished_weights.of_pairs(finished_weights.read(self._config.model.pretrained), variables)

    def pairs(
        self,
        variables: Variables,
        batch: dict[str, jax.Array],
        semi_positive: jax.Array | None,
        key: jax.Array,
        axis_name: str,
    ) -> tuple[Pairs, Variables, dict[str, jax.Array]]:
        """Embeds this device's part of a training batch, from inside the mapped step.

        Args:
          variables: of the model.
          batch: with `aerial` and `ground`.
          semi_positive: second tiles of the pairs.
          key: of the step, equal on all devices.
          axis_name: of the mapped axis.

        Returns:
          (the pairs, the mutable variables after it, metrics of how far from all alike the embeddings of a view are).
        """
        # Otherwise every device would drop the same features.
        dropout = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        pairs, model_state = training_pairs(
            self.model,
            variables,
            batch["aerial"],
            batch["ground"],
            semi_positive,
            dropout=dropout,
            micro_batch_size=self._config.micro_batch_size,
            axis_name=axis_name,
        )
        spreads = {
            "aerial_spread": spread(pairs.aerial, axis_name),
            "ground_spread": spread(pairs.ground, axis_name),
        }
        return pairs, model_state, spreads


def _memory_keys(model: ModelConfig) -> dict[str, str]:
    keys = {
        "model.remat": "True: activations are computed again in the backward pass; the same loss, a third more work"
    }
    if not registry.entry(model.backbone).normalises_by_batch:
        parts = "pairs encoded at a time, 0 for all of a device's at once: fewer; still the loss of the whole batch, a "
        keys["micro_batch_size"] = f"{parts}third more work"
    return keys | {"batch.size": "fewer; each query then learns from fewer negatives"}
