"""What all stages of a run have in common."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import optax

from vigor_jax.config import Config
from vigor_jax.tasks.task import Task
from vigor_jax.train import optimizer, record
from vigor_jax.train.checkpoint import Checkpoints
from vigor_jax.train.preemption import StopSignals
from vigor_jax.train.stall_watch import StallWatch


@dataclasses.dataclass(frozen=True)
class Run:
    """One start of a run, on this host.

    Attributes:
      config: of the run.
      workdir: absolute; all hosts see the same one.
      task: made of the config.
      mesh: of all devices.
      checkpoints: in the workdir.
      watch: is told what the run does.
      signals: that ask it to stop.
      record: of what its state is made with.
      optimizer: of the config.
    """

    config: Config
    workdir: Path
    task: Task
    mesh: jax.sharding.Mesh
    checkpoints: Checkpoints
    watch: StallWatch
    signals: StopSignals
    record: dict[str, Any]
    optimizer: optax.GradientTransformation

    @classmethod
    def of(
        cls,
        config: Config,
        workdir: Path,
        task: Task,
        mesh: jax.sharding.Mesh,
        checkpoints: Checkpoints,
        watch: StallWatch,
        signals: StopSignals,
    ) -> "Run":
        """With what follows from the config and the task."""
        made_with = record.make(config, task)
        return cls(
            config, workdir, task, mesh, checkpoints, watch, signals, made_with, optimizer.create(config.optimizer)
        )

    @property
    def total_steps(self) -> int:
        """From the first start to the end."""
        return self.config.epochs * self.task.steps_per_epoch

    @property
    def is_first_host(self) -> bool:
        """Whether this host writes files and the log."""
        return jax.process_index() == 0
