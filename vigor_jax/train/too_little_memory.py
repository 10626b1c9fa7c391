"""What to do when the devices' memory does not hold a run."""

import operator

import jax
from absl import logging

from vigor_jax.config import Config
from vigor_jax.errors import UserError
from vigor_jax.tasks.task import Task
from vigor_jax.train.memory import Limit, readable
from vigor_jax.train.step_memory import StepMemory


class TooLittleMemory(UserError):
    """The devices' memory does not hold a run; the message has what it needs and the keys that make it smaller."""


def ran_out(error: BaseException) -> bool:
    """Whether an error of JAX says that a device's memory was exhausted, in compiling or in running."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


def require_room(memory: StepMemory, limit: Limit | None, config: Config, task: Task) -> None:
    """Refuses a step that cannot fit by what the compiler and the devices say of it.

    Devices that share the host's memory are not certain of theirs, so there it is a warning.

    Raises:
      TooLittleMemory: a step takes more than the devices have of their own.
    """
    if limit is None or memory.step <= limit.bytes:
        return
    ways = advice(config, task)
    if limit.is_shared:
        logging.warning("A step takes %s, more than there is: %s.\n%s", readable(memory.step), limit, ways)
        return
    raise TooLittleMemory(f"The devices' memory does not hold a step. {memory.sentence(limit)}\n{ways}")


def advice(config: Config, task: Task) -> str:
    """The keys that decide how much memory a run takes, with what each would change beside."""
    ways = [
        f"  config.{key} (now {operator.attrgetter(key)(config)}): {change}\n"
        for key, change in task.memory_keys.items()
    ]
    return (
        f"What makes it smaller:\n{''.join(ways)}"
        f"If it happened in an evaluation, config.eval_batch_size (now {config.eval_batch_size}): fewer; the same "
        "results. More devices share the batch among them."
    )
