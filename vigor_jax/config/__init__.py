"""What a run may be told: schemas of configs, checked once at start into frozen dataclasses.

The command line stays ml_collections (`--config.optimizer.learning_rate=1e-4`); `parse` turns the resulting
`ConfigDict` into a dataclass, so that a misspelt key or an impossible value fails in the first second. Here is what
every run is told; what a task is told beside, its own folder says (`tasks/<task>/config.py`).
"""

from vigor_jax.config.errors import ConfigError, shown
from vigor_jax.config.parsing import check_key, has_key, is_group, keys_of, parse, to_dict, tree_of
from vigor_jax.config.schema import (
    BatchConfig,
    Config,
    DataConfig,
    ImageDataConfig,
    OptimizerConfig,
    RenderedCityConfig,
    Require,
)
from vigor_jax.config.values import check_rendered_city

__all__ = [
    "BatchConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "ImageDataConfig",
    "OptimizerConfig",
    "RenderedCityConfig",
    "Require",
    "check_key",
    "check_rendered_city",
    "has_key",
    "is_group",
    "keys_of",
    "parse",
    "shown",
    "to_dict",
    "tree_of",
]
