"""Values of every run that each have the right type and cannot work all the same."""

import math

from vigor_jax.config.errors import ConfigError, shown
from vigor_jax.config.optimizer_values import check_optimizer
from vigor_jax.config.schema import Config, RenderedCityConfig, Require
from vigor_jax.file_names import is_plain


def check_values(config: Config) -> None:
    """Refuses values that cannot work, those of the task's own keys by `Config.check`.

    Raises:
      ConfigError: names the key, the value and what is allowed.
    """

    def require(condition: bool, key: str, expectation: str) -> None:
        if not condition:
            value = config
            for part in key.split("."):
                value = getattr(value, part)
            raise ConfigError(f"config.{key} = {shown(value)}: {expectation}.")

    require(
        all(map(is_plain, config.name.split("/"))),
        "name",
        "printable, and not a path that leads out of runs/, where the run lies",
    )
    # Of a larger one, the random keys on the devices would drop the upper bits.
    require(0 <= config.seed < 2**32, "seed", "from 0 to 2**32 - 1")
    require(config.epochs >= 1, "epochs", "train for at least one epoch")
    require(config.batch.size >= 1, "batch.size", "must be positive")
    require(config.eval_batch_size >= 1, "eval_batch_size", "must be positive")
    require(config.evaluate_every_epochs >= 1, "evaluate_every_epochs", "must be positive")
    require(config.log_every_steps >= 1, "log_every_steps", "must be positive")
    require(config.checkpoint_every_steps >= 1, "checkpoint_every_steps", "must be positive")
    require(config.checkpoints_to_keep >= 1, "checkpoints_to_keep", "must be positive")
    require(config.input_threads >= 0, "input_threads", "a number of threads, or 0 for one a core")
    require(0 <= config.stall_seconds < math.inf, "stall_seconds", "seconds, or 0 for never")
    check_optimizer(config.optimizer, require)
    config.check(require)


def check_rendered_city(city: RenderedCityConfig, require: Require) -> None:
    """Refuses an extent or seed that no rendered city has; for the `check` of configs that have the group."""
    require(0 <= city.seed < 2**32, "rendered_city.seed", "from 0 to 2**32 - 1")
    for key in ("train_tiles_per_side", "test_tiles_per_side"):
        side = getattr(city, key)
        require(side >= 3, f"rendered_city.{key}", "at least 3: a positive tile needs neighbours all around")
