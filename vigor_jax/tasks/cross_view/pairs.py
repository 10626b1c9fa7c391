"""What tasks on pairs train on and are tested on: panoramas and their tiles, divided into splits and batches."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from vigor_jax import datasets
from vigor_jax.datasets import protocol
from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.datasets.protocol import EvaluationSplit, Splits
from vigor_jax.input.batches import Hybrid, Plan, train_batches
from vigor_jax.input.sampling import BatchPlan, host_rows
from vigor_jax.tasks.cross_view.config import PairConfig
from vigor_jax.tasks.task import Batch, chosen_splits


def load(config: PairConfig) -> tuple[CrossViewData, Splits]:
    """Opens or prepares the data set that a config names, and divides it.

    Raises:
      UserError: data or splits that cannot be had.
    """
    data = datasets.load(config.data, config.rendered_city)
    splits = protocol.split(
        data,
        train_cities=config.data.train_cities,
        test_cities=config.data.test_cities,
        protocols=config.data.protocols,
        same_area_cities=config.data.same_area_cities,
        validation_fraction=config.data.validation_fraction,
    )
    return data, splits


def load_splits(config: PairConfig, names: Sequence[str]) -> tuple[CrossViewData, dict[str, EvaluationSplit]]:
    """Opens or prepares the cities of some evaluations (of all, if none is named), and divides them as `load` does.

    Raises:
      ConfigError: there is no evaluation of that name.
      UserError: data or splits that cannot be had.
    """
    chosen = config.data
    there = [name for name in ("same_area", "cross_area") if name in chosen.protocols]
    if chosen.validation_fraction:
        there.insert(0, "validation")
    names = chosen_splits(names, there)
    cities = {
        "train_cities": chosen.train_cities,
        "test_cities": chosen.test_cities,
        "same_area_cities": chosen.same_area_cities,
    }
    data = datasets.load(chosen, config.rendered_city, cities=protocol.cities_of(names, **cities))
    fraction = chosen.validation_fraction
    return data, {
        name: protocol.evaluation(data, name, **cities, protocols=chosen.protocols, validation_fraction=fraction)
        for name in names
    }


class PairTraining:
    """The batches of a run.

    Attributes:
      data: the prepared data set.
      train: rows of the panoramas that train.
      evaluations: the other splits, by name.
      selection_metric: of the task; None where nothing is held out.
      plan: of the batches.
      steps_per_epoch: batches an epoch holds.
      fingerprint: what the batches are made from; a task adds what else it depends on.
    """

    def __init__(self, config: PairConfig):
        """Opens the data set and plans the batches.

        Raises:
          UserError: data, splits or batches that cannot be had.
        """
        self._config = config
        self.data, splits = load(config)
        self.train, self.evaluations = splits.train, splits.evaluations
        self.selection_metric = "validation/top1" if "validation" in splits.evaluations else None
        panoramas, batch = self.data.panoramas, config.batch
        self.plan = BatchPlan(
            panoramas.references[self.train],
            panoramas.city[self.train],
            seed=config.seed,
            batch_size=batch.size,
            one_city=batch.one_city,
        )
        self.steps_per_epoch = self.plan.steps_per_epoch
        self.fingerprint: dict[str, Any] = {
            "data": self.data.fingerprint,
            "training panoramas": hashlib.sha256(self.train.astype(np.int64).tobytes()).hexdigest(),
            "batch": dataclasses.asdict(batch),
        }

    def batches(
        self,
        first_step: int,
        *,
        plan: Plan | None = None,
        for_mining: bool = False,
        hybrid: Hybrid | None = None,
    ) -> Iterator[Batch]:
        """Reads this host's rows of the batches that `input.batches.train_batches` describes.

        Args:
          first_step: of the first batch.
          plan: in place of `plan`, of the same training panoramas.
          for_mining: as there.
          hybrid: as there.
        """
        config = self._config
        return train_batches(
            self.data,
            self.train,
            self.plan if plan is None else plan,
            first_step=first_step,
            augment=config.batch.augment,
            seed=config.seed,
            host_rows=host_rows(config.batch.size, jax.process_index(), jax.process_count()),
            threads=config.input_threads,
            for_mining=for_mining,
            hybrid=hybrid,
        )
