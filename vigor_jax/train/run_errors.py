"""Errors that end a run, in words for the person who reads them."""

import contextlib
from collections.abc import Iterator

import jax

from vigor_jax.errors import UserError
from vigor_jax.train import disk_space, too_little_memory
from vigor_jax.train.checkpoint import SaveError
from vigor_jax.train.run_context import RunContext
from vigor_jax.train.too_little_memory import TooLittleMemory
from vigor_jax.train.training_log import NonFiniteStep


class NonFiniteError(UserError):
    """Training broke down; the message names the step and the last good checkpoint."""


@contextlib.contextmanager
def explained(run: RunContext) -> Iterator[None]:
    """Says of a step that was not finite, of memory and of disks that are full what to do about them.

    Raises:
      NonFiniteError: for `NonFiniteStep`.
      TooLittleMemory: for JAX's error of exhausted memory.
      SaveError: for an error of writing metrics, findings, summary or report to a full disk.
    """
    try:
        yield
    except NonFiniteStep as event:
        raise _nonfinite(run, event.step) from event
    except jax.errors.JaxRuntimeError as error:
        if not too_little_memory.ran_out(error):
            raise
        raise TooLittleMemory(
            f"The devices' memory does not hold this run: {str(error).splitlines()[0]}\n"
            f"{too_little_memory.advice(run.config, run.task)}"
        ) from error
    except OSError as error:
        if not disk_space.is_exhausted(error):
            raise
        raise _no_space(run, error) from error


def _nonfinite(run: RunContext, broken: int) -> NonFiniteError:
    run.checkpoints.wait()
    latest = run.checkpoints.latest()
    if latest is None:
        good, start = "No checkpoint was written before it.", "starts afresh"
    else:
        good = f"The last good checkpoint is {run.checkpoints.path(latest)} (step {latest})."
        start = "goes on from there"
    return NonFiniteError(
        f"Loss, gradient or running statistics were not finite in step {broken} (batch {broken - 1}, counted from "
        f"0). {good} Try a lower config.optimizer.learning_rate, now {run.config.optimizer.learning_rate}: the "
        f"command with it {start}."
    )


def _no_space(run: RunContext, error: OSError) -> SaveError:
    free = disk_space.readable(disk_space.free_bytes(run.workdir))
    return SaveError(
        f"{run.workdir} cannot be written to, as the disk or the quota is full: {error}. {free} are free. Make "
        "room; then the same command goes on from the last checkpoint."
    )
