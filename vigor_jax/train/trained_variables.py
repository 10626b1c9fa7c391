"""What a finished run has learnt, for programs that look at it again."""

from pathlib import Path

import jax

from vigor_jax.config import Config
from vigor_jax.errors import UserError
from vigor_jax.tasks.task import Task, Variables
from vigor_jax.train import optimizer, state
from vigor_jax.train.checkpoint import Checkpoints


def trained_variables(config: Config, task: Task, workdir: Path, mesh: jax.sharding.Mesh) -> Variables:
    """The variables of a run's last checkpoint, by which the metrics of its summary are; a copy on each device.

    Args:
      config: of the run.
      task: made of it.
      workdir: of the run.
      mesh: of the devices.

    Raises:
      UserError: there is no checkpoint.
      ResumeError: it is of another model, or cannot be read.
    """
    directory = workdir.absolute() / "checkpoints"
    with Checkpoints(
        directory, newest=config.checkpoints_to_keep, selection_metric=task.selection_metric
    ) as checkpoints:
        latest = checkpoints.latest()
        if latest is None:
            raise UserError(f"{directory} holds no checkpoint: delete {workdir / 'summary.json'} to train it again.")
        into = state.abstract(task, optimizer.create(config.optimizer), config.seed, mesh)
        return checkpoints.restore(latest, into).variables
