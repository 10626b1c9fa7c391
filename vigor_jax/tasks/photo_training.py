"""What tasks on single photos train on: the photos of a data set, cut and shifted in colour as the config says."""

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.input import colour_shift
from vigor_jax.input.labelled_batches import train_batches
from vigor_jax.input.sampling import EpochPlan, host_rows
from vigor_jax.tasks.classification.config import ClassificationConfig
from vigor_jax.tasks.task import Batch

_DECIDING = ("crop", "scales", "mirror", "colour_shift")  # of config.images, what the batches are made by


class PhotoTraining:
    """The batches of a run.

    Attributes:
      steps_per_epoch: batches an epoch holds.
      fingerprint: what they are made from; a task adds what else it depends on.
    """

    def __init__(self, config: ClassificationConfig, data: LabelledImages, *, with_labels: bool):
        """Plans the batches, with or without labels, and measures the photos' colours if they are to be shifted.

        Raises:
          SamplingError: fewer photos train than a batch holds.
        """
        self._config, self._data, self._with_labels = config, data, with_labels
        images = config.images
        self._plan = EpochPlan(len(data.train), seed=config.seed, batch_size=config.batch.size)
        self.steps_per_epoch = self._plan.steps_per_epoch
        self.fingerprint: dict[str, Any] = {
            "data": data.fingerprint,
            "training images": hashlib.sha256(data.train.astype(np.int64).tobytes()).hexdigest(),
            "batch": dataclasses.asdict(config.batch),
            "images": {name: getattr(images, name) for name in _DECIDING},
        }
        self._colours = None
        if images.colour_shift:
            self._colours = colour_shift.principal_colours(data.images, data.train, data.names)

    def batches(self, first_step: int) -> Iterator[Batch]:
        """This host's rows of the batches that `input.labelled_batches.train_batches` describes."""
        config, images = self._config, self._config.images
        return train_batches(
            self._data,
            self._plan,
            crop=images.crop,
            scales=images.scales,
            mirror=images.mirror,
            colours=self._colours,
            colour_std=images.colour_shift,
            with_labels=self._with_labels,
            first_step=first_step,
            seed=config.seed,
            host_rows=host_rows(config.batch.size, jax.process_index(), jax.process_count()),
            threads=config.input_threads,
        )
