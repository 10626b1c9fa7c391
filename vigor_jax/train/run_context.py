"""What all parts of a start of a run need to know."""

import dataclasses
import functools
from pathlib import Path

import jax
import optax

from vigor_jax.config import Config
from vigor_jax.tasks.task import Task
from vigor_jax.train import optimizer
from vigor_jax.train.checkpoint import Checkpoints
from vigor_jax.train.preemption import StopSignals
from vigor_jax.train.stall_watch import StallWatch
from vigor_jax.workdir import provenance
from vigor_jax.workdir.provenance import Provenance


@dataclasses.dataclass(frozen=True)
class RunContext:
    """One start of a run, on this host.

    Attributes:
      workdir: absolute; all hosts see the same one.
      mesh: of all devices of all hosts.
      watch: is told what the run does.
      signals: ask it to stop.
    """

    config: Config
    workdir: Path
    task: Task
    mesh: jax.sharding.Mesh
    checkpoints: Checkpoints
    watch: StallWatch
    signals: StopSignals

    @property
    def total_steps(self) -> int:
        """From the first start to the end."""
        return self.config.epochs * self.task.steps_per_epoch

    @functools.cached_property
    def optimizer(self) -> optax.GradientTransformation:
        """Of the config."""
        return optimizer.create(self.config.optimizer)

    @functools.cached_property
    def provenance(self) -> Provenance:
        """Of what this start saves."""
        return provenance.make(self.config, self.task.fingerprint, self.task.resolved)
