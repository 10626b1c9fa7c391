"""Values that each have the right type and cannot work all the same."""

import math

from vigor_jax.config.classifier_values import check_classifier
from vigor_jax.config.cross_view_values import check_cross_view
from vigor_jax.config.distillation_values import check_distillation
from vigor_jax.config.errors import ConfigError, shown
from vigor_jax.config.image_values import check_images
from vigor_jax.config.optimizer_values import check_optimizer
from vigor_jax.config.schema import Config
from vigor_jax.file_names import is_plain


def check_values(config: Config) -> None:
    """Refuses values that cannot work.

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
    require(0 <= config.rendered_city.seed < 2**32, "rendered_city.seed", "from 0 to 2**32 - 1")
    for key in ("train_tiles_per_side", "test_tiles_per_side"):
        side = getattr(config.rendered_city, key)
        require(side >= 3, f"rendered_city.{key}", "at least 3: a positive tile needs neighbours all around")
    require(config.epochs >= 1, "epochs", "train for at least one epoch")
    require(config.batch.size >= 1, "batch.size", "must be positive")
    require(config.micro_batch_size >= 0, "micro_batch_size", "pairs at a time, or 0 for all at once")
    require(config.eval_batch_size >= 1, "eval_batch_size", "must be positive")
    require(config.evaluate_every_epochs >= 1, "evaluate_every_epochs", "must be positive")
    require(config.log_every_steps >= 1, "log_every_steps", "must be positive")
    require(config.checkpoint_every_steps >= 1, "checkpoint_every_steps", "must be positive")
    require(config.checkpoints_to_keep >= 1, "checkpoints_to_keep", "must be positive")
    require(config.input_threads >= 0, "input_threads", "a number of threads, or 0 for one a core")
    require(0 <= config.stall_seconds < math.inf, "stall_seconds", "seconds, or 0 for never")
    require(config.loss.alpha > 0, "loss.alpha", "must be positive")
    require(config.loss.iou_weight >= 0, "loss.iou_weight", "must not be negative")
    require(config.loss.offset_weight >= 0, "loss.offset_weight", "must not be negative")
    require(config.loss.hybrid_from_epoch >= 1, "loss.hybrid_from_epoch", "epochs are counted from 1")
    require(config.mining.capacity >= 1, "mining.capacity", "must be positive")
    require(config.mining.hardest >= 1, "mining.hardest", "must be positive")
    require(config.mining.from_epoch >= 2, "mining.from_epoch", "at least 2: the first epoch fills the pool")
    check_optimizer(config.optimizer, require)
    if config.data is not None and config.model is not None:
        check_cross_view(config, require)
    if config.images is not None:
        check_images(config.images, require)
    if config.classifier is not None:
        check_classifier(config, require)
    if config.distillation is not None:
        check_distillation(config, require)
