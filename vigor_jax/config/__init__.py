"""What a run may be told: the schema of every config, checked once at start into frozen dataclasses.

The command line stays ml_collections (`--config.optimizer.learning_rate=1e-4`); `parse` turns the resulting
`ConfigDict` into a `Config`, so that a misspelt key or an impossible value fails in the first second.
"""

from vigor_jax.config.errors import ConfigError
from vigor_jax.config.parsing import check_key, group_of, parse, to_dict
from vigor_jax.config.schema import (
    BatchConfig,
    ClassifierConfig,
    Config,
    DataConfig,
    DistillationConfig,
    GeocellConfig,
    ImageDataConfig,
    LossConfig,
    MiningConfig,
    ModelConfig,
    OptimizerConfig,
    RenderedCityConfig,
)

__all__ = [
    "BatchConfig",
    "ClassifierConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "DistillationConfig",
    "GeocellConfig",
    "ImageDataConfig",
    "LossConfig",
    "MiningConfig",
    "ModelConfig",
    "OptimizerConfig",
    "RenderedCityConfig",
    "check_key",
    "group_of",
    "parse",
    "to_dict",
]
