"""What to do when the devices' memory does not hold a run."""

import jax
from absl import logging

from vigor_jax.config import Config
from vigor_jax.errors import UserError
from vigor_jax.models import registry
from vigor_jax.train.memory import Limit, readable
from vigor_jax.train.step_memory import StepMemory


class TooLittleMemory(UserError):
    """The devices' memory does not hold a run; the message has what it needs and the keys that make it smaller."""


def ran_out(error: BaseException) -> bool:
    """Whether an error of JAX says that a device's memory was exhausted, in compiling or in running."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


def require_room(memory: StepMemory, limit: Limit | None, config: Config) -> None:
    """Refuses a step that cannot fit by what the compiler and the devices say of it.

    Devices that share the host's memory are not certain of theirs, so there it is a warning.

    Raises:
      TooLittleMemory: a step takes more than the devices have of their own.
    """
    if limit is None or memory.step <= limit.bytes:
        return
    if limit.is_shared:
        logging.warning("A step takes %s, more than there is: %s.\n%s", readable(memory.step), limit, advice(config))
        return
    raise TooLittleMemory(f"The devices' memory does not hold a step. {memory.sentence(limit)}\n{advice(config)}")


def advice(config: Config) -> str:
    """The keys that decide how much memory a run takes, with what each would change beside."""
    ways = []
    if config.model is not None:
        micro = config.micro_batch_size
        encoded = f"now {micro} pairs encoded at a time" if micro else "now 0: all of a device's pairs encoded at once"
        remat = f"config.model.remat=True (now {config.model.remat})"
        ways.append(f"{remat}: activations are computed again in the backward pass; the same loss, a third more work")
        if not registry.entry(config.model.backbone).normalises_by_batch:
            ways.append(
                f"config.micro_batch_size ({encoded}): fewer; still the loss of the whole batch, a third more work"
            )
    less = "each query then learns from fewer negatives" if ways else "another result"
    ways.append(f"config.batch.size (now {config.batch.size}): fewer; {less}")
    if config.images is not None:
        ways.append(f"config.images.crop (now {config.images.crop}): smaller; another result")
    return (
        "What makes it smaller:\n"
        + "".join(f"  {way}\n" for way in ways)
        + f"If it happened in an evaluation, config.eval_batch_size (now {config.eval_batch_size}): fewer; the same "
        "results. More devices share the batch among them."
    )
