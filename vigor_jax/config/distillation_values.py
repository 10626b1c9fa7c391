"""Values of the group of distillation that cannot work."""

from collections.abc import Callable

from vigor_jax.config.schema import Config, LossConfig, MiningConfig


def check_distillation(config: Config, require: Callable[[bool, str, str], None]) -> None:
    """Refuses values of the group of distillation that cannot work, and values elsewhere that it would not read."""
    require(bool(config.distillation.teacher), "distillation.teacher", "name the workdir of a finished run")
    require(
        config.loss == LossConfig(),
        "loss",
        "distillation has one loss, the distance from the teacher, which has no such keys; leave them out",
    )
    require(
        config.mining == MiningConfig(), "mining", "distillation has no negatives that could be mined; leave it out"
    )
    require(
        not config.distillation.teacher_backbone or config.task == "image_distillation",
        "distillation.teacher_backbone",
        "only the teacher of 'image_distillation' may be a weight file; leave it empty and name a run",
    )
    if config.classifier is not None:
        require(
            len(config.classifier.test_scales) == 1,
            "classifier.test_scales",
            "embeddings are compared at a single scale, so name one size, such as (256,)",
        )
        require(
            config.classifier.test_protocol == "centre_crop",
            "classifier.test_protocol",
            "embeddings are compared on the centre crop alone, so leave it out",
        )
        require(
            not config.classifier.shallower,
            "classifier.shallower",
            "a student has no classes, so it cannot take over the logits of another network; leave it out",
        )
    if config.model is not None:
        require(
            config.model.offset_head == "none",
            "model.offset_head",
            'the student learns embeddings alone, so no offsets; set "none"',
        )
