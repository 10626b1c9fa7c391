"""The four functions by which the trainer knows a task, whatever it trains."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

# Flax variable collections: {"params": ..., and any mutable collection, e.g. "batch_stats"}.
Variables = dict[str, Any]
Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class LossOutput:
    """What one evaluation of the loss hands back to the step, all of it equal on every device."""

    model_state: Variables  # the updated mutable collections, without "params"
    metrics: dict[str, jax.Array]  # scalars to log


@runtime_checkable
class Task(Protocol):
    """A model, a batch plan, a loss and an evaluation.

    Attributes:
      steps_per_epoch: batches an epoch holds.
      selection_metric: the key of `evaluate`'s result by which the best checkpoint is kept; higher is better,
        and it never comes from a test split.
      fingerprint: what the data and batch plan were made from; compared when a run resumes.
    """

    steps_per_epoch: int
    selection_metric: str
    fingerprint: dict[str, Any]

    def init(self, key: jax.Array) -> Variables:
        """Fresh variables; float32; the same for the same key. On the host or on one device."""
        ...

    def batches(self, first_step: int) -> Iterator[Batch]:
        """This host's rows of the batches of steps first_step, first_step + 1, ... without end, read ahead of time.

        Every array is [global batch / hosts, ...]; the rows of host h are the h-th contiguous block.
        """
        ...

    def loss(
        self, variables: Variables, batch: dict[str, jax.Array], key: jax.Array, *, axis_name: str
    ) -> tuple[jax.Array, LossOutput]:
        """The global batch's loss, from inside the mapped step.

        Args:
          variables: replicated.
          batch: this device's rows.
          key: folded from the seed and the step; equal on all devices.
          axis_name: the mapped axis, for collectives. The returned scalar is the loss of the global batch, equal on
            every device.
        """
        ...

    def evaluate(self, variables: Variables, mesh: jax.sharding.Mesh) -> dict[str, float]:
        """Metrics as `{"<split>/<metric>": value}`, every split including the selection split."""
        ...

    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        """What the epoch table prints of `evaluate`'s result: for each split (a row) its columns, in printing order."""
        ...

    def diagnose(self, metrics: dict[str, float]) -> str | None:
        """A sentence for the log if the averaged training metrics of an interval show a known failure, else None."""
        ...
