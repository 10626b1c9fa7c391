"""What the trainer knows of a task, whatever it trains."""

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec

from vigor_jax.config import ConfigError
from vigor_jax.encoding.stopping import never
from vigor_jax.models.variables import Variables
from vigor_jax.tasks.entry import NOTHING_RESOLVED, Resolved

Batch = dict[str, np.ndarray]


# What a task's steps hand on to each other on the devices beside the variables, such as a mining pool: any pytree of
# arrays.
Carry = Any
# Arrays that a step sends back to the task on the host, such as the hardest tiles it found.
Feedback = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class LossOutput:
    """What one evaluation of the loss hands back to the step; all but the carry equal on every device."""

    # The collections that this step has changed, without "params"; those left out stay as they are, and are not looked
    # through for what is not finite.
    model_state: Variables
    metrics: dict[str, jax.Array]  # scalars to log; the same names throughout an epoch
    carry: Carry = dataclasses.field(default_factory=dict)  # for the next step
    feedback: Feedback = dataclasses.field(default_factory=dict)  # for `Task.take_feedback`


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What an evaluation found."""

    metrics: dict[str, float]  # {"<split>/<metric>": value}, every split including the selection split
    findings: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # of single examples, for the report


class ModelEvaluation(abc.ABC):
    """Measures a trained model on some splits, and needs nothing of its training; made by `tasks.evaluation`."""

    @abc.abstractmethod
    def __call__(
        self, variables: Variables, mesh: jax.sharding.Mesh, should_stop: Callable[[], bool] = never
    ) -> Evaluated:
        """As `Task.evaluate`."""

    def at_end(
        self, variables: Variables, mesh: jax.sharding.Mesh, should_stop: Callable[[], bool] = never
    ) -> dict[str, float]:
        """As `Task.evaluate_at_end`."""
        return {}

    @abc.abstractmethod
    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        """As `Task.table`."""


def chosen_splits(asked: Sequence[str], there: Sequence[str]) -> tuple[str, ...]:
    """The splits to evaluate, in the order in which the task has them; all of them if none is asked for.

    Raises:
      ConfigError: one that is not there.
    """
    unknown = [name for name in asked if name not in there]
    if unknown:
        raise ConfigError(f"there is no split {unknown[0]!r} to evaluate. There are: {', '.join(there)}.")
    return tuple(name for name in there if name in asked or not asked)


class Task(abc.ABC):
    """A model, a batch plan, a loss and an evaluation.

    Four functions do the work: `init`, `batches`, `loss` and `evaluate`, and `table` prints what was found. Everything
    else has a default, that of a task whose steps depend on nothing but the variables and whose batches on nothing but
    the step.

    Attributes:
      steps_per_epoch: batches an epoch holds.
      selection_metric: the key of `evaluate`'s result by which the best checkpoint is kept, or None; higher is better,
        and it never comes from a test split.
      fingerprint: what the data and batch plan were made from; compared when a run resumes.
      resolved: what the config leaves to files that only a fresh state needs, as JSON: such as the preprocessing that a
        weight file asks for. Stored with the run and handed to the task of every later start, which so needs no file.
      carry_specs: how the leaves of the carry lie on the devices, a `PartitionSpec` tree or a prefix of one: "data"
        for rows over the devices, nothing for a copy on each.
      param_specs: how the parameters lie, likewise a tree or a prefix of one: `PartitionSpec("data")` for rows over the
        devices, as a class matrix of millions of parameters may need, `PartitionSpec()` for a copy on each. `init`
        returns as many rows as there are. Where the devices do not divide them, rows of zeros follow; whether there
        are any, the loss sees by its block's rows times the devices. It must give them no part in anything, so that
        their gradient is 0 and they stay 0. Checkpoints and finished runs know only the rows that there are.
      metrics_at_end: the keys of what `evaluate_at_end` returns.
      memory_keys: the dotted keys of its config that decide how much memory a step takes, with how to change each and
        what that changes beside; told when the devices have too little.
    """

    steps_per_epoch: int
    selection_metric: str | None
    fingerprint: dict[str, Any]
    resolved: Resolved = NOTHING_RESOLVED
    carry_specs: Any = PartitionSpec()
    param_specs: Any = PartitionSpec()
    metrics_at_end: frozenset[str] = frozenset()
    memory_keys: Mapping[str, str] = {"batch.size": "fewer; another result"}

    @abc.abstractmethod
    def init(self, key: jax.Array) -> Variables:
        """Fresh variables; float32; the same for the same key. On the host or on one device."""

    @abc.abstractmethod
    def batches(self, first_step: int) -> Iterator[Batch]:
        """This host's rows of the batches of steps first_step, first_step + 1, ... without end, read ahead of time.

        Every array is [global batch / hosts, ...]; the rows of host h are the h-th contiguous block.
        """

    @abc.abstractmethod
    def loss(
        self, variables: Variables, batch: dict[str, jax.Array], key: jax.Array, *, carry: Carry, axis_name: str
    ) -> tuple[jax.Array, LossOutput]:
        """The global batch's loss, from inside the mapped step.

        Args:
          variables: the same on every device; but "params" are typed as each device's own (varying over the axis), so
            that their gradients are summed over the devices once, in their own type. Of a parameter whose rows
            `param_specs` divides, this device's block: what is computed of it is this device's alone until a collective
            makes it everyone's, and its gradient comes through that collective and is not summed.
          batch: this device's rows.
          key: folded from the seed and the step; equal on all devices.
          carry: this device's part of what the step before handed on.
          axis_name: the mapped axis, for collectives. The returned scalar is the loss of the global batch, equal on
            every device.
        """

    @abc.abstractmethod
    def evaluate(
        self, variables: Variables, mesh: jax.sharding.Mesh, should_stop: Callable[[], bool] = never
    ) -> Evaluated:
        """Metrics of every split, and what was found for single examples; called on every host.

        Args:
          variables: laid out over the mesh as the state's.
          mesh: of the devices to compute on.
          should_stop: to be called every few seconds, as often on every host and in the same order among what is
            computed on the devices; says True on all of them alike.

        Raises:
          EvaluationStopped: once it said True.
        """

    @abc.abstractmethod
    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        """What the epoch table prints of an evaluation's metrics: for each split that they have (a row) its columns.

        An earlier start of the run may have measured fewer splits than this one.
        """

    def init_carry(self, devices: int) -> Carry:
        """What the first step is handed; traced. Rows over the devices are a multiple of `devices`, whose last ones
        may be padding: a checkpoint is restored on another number of devices by cutting or zero-padding them.
        """
        return {}

    def take_feedback(self, step: int, feedback: Feedback) -> None:
        """Takes what update `step` (counted from 0) sends back; called in order, right after the step was handed to
        the devices, so the arrays are still being computed and this must not wait for them.
        """

    def plan_state(self) -> dict[str, np.ndarray]:
        """What the batches after the last `take_feedback` depend on beside the seed and the step, for the checkpoint;
        of the same names, shapes and types throughout a run.
        """
        return {}

    def restore_plan(self, state: dict[str, np.ndarray]) -> None:
        """Goes on from a `plan_state`; called before `batches`."""

    def evaluate_at_end(
        self, variables: Variables, mesh: jax.sharding.Mesh, should_stop: Callable[[], bool] = never
    ) -> dict[str, float]:
        """Further metrics of every split, too dear to be measured before all steps are done: {"<split>/<metric>":
        value}, none of which `evaluate` has.

        Arguments and errors as of `evaluate`, after which it is called.
        """
        return {}

    def diagnose(self, metrics: dict[str, float]) -> str | None:
        """A sentence for the log if the averaged training metrics of an interval show a known failure, else None."""
        return None

    def report(self, workdir: Path) -> Path | None:
        """Writes a page about the run that ended in `workdir`, from its summary, metrics and findings.

        Returns:
          The page, here one without a section of its own; None if there is none.
        """
        from vigor_jax import report  # its libraries take a second to load, which a start need not wait for

        return report.write(workdir)

    def close(self) -> None:
        """Ends what the task has running, such as threads; called once, whatever ends the start."""
