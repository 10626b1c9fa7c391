"""What a run of distillation may be told."""

import dataclasses

from vigor_jax.config import Require
from vigor_jax.tasks.classification.config import ClassificationConfig
from vigor_jax.tasks.cross_view.config import PairConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Of distillation: whose embeddings the student learns."""

    teacher: str  # workdir of a finished run, or a weight file
    # Of image_distillation, whose teacher may be a weight file: the backbone that it is of. Empty: a run.
    teacher_backbone: str = ""
    # A linear layer with a bias, of each view, from the student's descriptor to the teacher's size. Without it the
    # sizes must agree.
    projection: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossViewDistillationConfig(PairConfig):
    """Of `cross_view_distillation`."""

    distillation: DistillationConfig

    def check(self, require: Require) -> None:
        """Refuses, beside what no task on pairs can have, students that cannot be."""
        super().check(require)
        _check_teacher(self.distillation, require)
        require(
            not self.distillation.teacher_backbone,
            "distillation.teacher_backbone",
            "only the teacher of 'image_distillation' may be a weight file; leave it empty and name a run",
        )
        require(
            self.model.offset_head == "none",
            "model.offset_head",
            'the student learns embeddings alone, so no offsets; set "none"',
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageDistillationConfig(ClassificationConfig):
    """Of `image_distillation`."""

    distillation: DistillationConfig

    def check(self, require: Require) -> None:
        """Refuses, beside what no network on photos can have, students that cannot be."""
        super().check(require)
        _check_teacher(self.distillation, require)
        require(
            len(self.classifier.test_scales) == 1,
            "classifier.test_scales",
            "embeddings are compared at a single scale, so name one size, such as (256,)",
        )
        require(
            self.classifier.test_protocol == "centre_crop",
            "classifier.test_protocol",
            "embeddings are compared on the centre crop alone, so leave it out",
        )
        require(
            not self.classifier.shallower,
            "classifier.shallower",
            "a student has no classes, so it cannot take over the logits of another network; leave it out",
        )


def _check_teacher(distillation: DistillationConfig, require: Require) -> None:
    require(bool(distillation.teacher), "distillation.teacher", "name the workdir of a finished run")
