"""Values of the optimiser's group that cannot work, or that nothing would read."""

import dataclasses
from collections.abc import Callable

from vigor_jax.config.schema import OptimizerConfig

# Keys that not every choice reads: the key of the choice, and those of its values that read it.
_READ_BY = {
    "momentum": ("name", ("sgd", "rmsprop")),
    "decay_rate": ("schedule", ("exponential", "staircase")),
    "decay_steps": ("schedule", ("exponential", "staircase", "cosine")),
    "plateau_patience": ("schedule", ("plateau",)),
    "plateau_factor": ("schedule", ("plateau",)),
}


def check_optimizer(optimizer: OptimizerConfig, require: Callable[[bool, str, str], None]) -> None:
    """Refuses values of the optimiser's group that cannot work, or that were set and would not be read."""
    require(optimizer.learning_rate > 0, "optimizer.learning_rate", "must be positive")
    require(0 <= optimizer.momentum < 1, "optimizer.momentum", "at least 0, for none, and below 1")
    require(optimizer.weight_decay >= 0, "optimizer.weight_decay", "must not be negative; 0 for none")
    require(optimizer.decay_steps > 0, "optimizer.decay_steps", "must be positive")
    require(optimizer.decay_rate > 0, "optimizer.decay_rate", "must be positive; 1 for no decay")
    require(optimizer.plateau_patience >= 1, "optimizer.plateau_patience", "at least one evaluation without a new best")
    require(0 < optimizer.plateau_factor < 1, "optimizer.plateau_factor", "between 0 and 1, or nothing would be cut")
    require(optimizer.warmup_steps >= 0, "optimizer.warmup_steps", "must not be negative")
    defaults = {field.name: field.default for field in dataclasses.fields(OptimizerConfig)}
    for key, (choice, readers) in _READ_BY.items():
        chosen = getattr(optimizer, choice)
        require(
            chosen in readers or getattr(optimizer, key) == defaults[key],
            f"optimizer.{key}",
            f"config.optimizer.{choice} = {chosen!r} does not read it, only {' and '.join(map(repr, readers))}; it "
            f"keeps its default, {defaults[key]!r}, then",
        )
