"""Which towers a config can have, and the weights that they start from."""

from typing import Any

from vigor_jax.config import ConfigError
from vigor_jax.errors import UserError
from vigor_jax.models import registry, towers
from vigor_jax.models.pretrained.loading import load
from vigor_jax.tasks.cross_view.config import ModelConfig, PairConfig


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


def read_weights(model: ModelConfig) -> tuple[dict[str, Any] | None, str]:
    """(variables of the backbone or None without a file, name of the preprocessing).

    Raises:
      WeightFileError: of `models.pretrained.loading.load`.
    """
    if not model.pretrained:
        return None, registry.entry(model.backbone).preprocessing
    loaded = load(registry.backbone(model.backbone), model.backbone, model.pretrained)
    return loaded.variables, loaded.preprocessing
