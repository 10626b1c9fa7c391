"""The step as a program that is compiled before its first step, not in it."""

import dataclasses
import threading
import time
from collections.abc import Hashable

import jax
from absl import logging

from vigor_jax.parallel import hosts
from vigor_jax.tasks.task import Feedback
from vigor_jax.train import memory, too_little_memory
from vigor_jax.train.run_context import RunContext
from vigor_jax.train.state import TrainState
from vigor_jax.train.step import Metrics, Step
from vigor_jax.train.step_memory import StepMemory

Batch = dict[str, jax.Array]

_FOUND = "/jax/compilation_cache/cache_hits"


@dataclasses.dataclass(frozen=True)
class Compilation:
    """What became of compiling.

    Attributes:
      trace_seconds: from Python to what the compiler reads.
      compile_seconds: from there to the program.
      was_kept: an earlier start had compiled the same, and it was read from the cache.
      memory: of the program; None where the backend does not tell.
    """

    trace_seconds: float
    compile_seconds: float
    was_kept: bool
    memory: StepMemory | None


class CompiledStep:
    """A step with one program for each structure of batch, of which the hybrid phase has another."""

    def __init__(self, step: Step):
        """Compiles nothing yet; `step` is of `train.step.make`."""
        self._step = step
        self._programs: dict[Hashable, jax.stages.Compiled] = {}

    def is_compiled_for(self, batch: Batch) -> bool:
        """Whether there is a program for such a batch."""
        return _structure(batch) in self._programs

    def compile(self, state: TrainState, batch: Batch) -> Compilation:
        """Makes the program for such a state and batch; runs nothing, and takes none of them over.

        Raises:
          JaxRuntimeError: of the compiler, for one that the devices' memory is too small (RESOURCE_EXHAUSTED).
        """
        with _FromCache() as cache:
            begin = time.perf_counter()
            lowered = self._step.lower(state, batch)
            traced = time.perf_counter()
            program = lowered.compile()
            compiled = time.perf_counter()
        self._programs[_structure(batch)] = program
        return Compilation(traced - begin, compiled - traced, cache.was_read, StepMemory.of(program, state, batch))

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics, jax.Array, Feedback]:
        """As `train.step.make` says; `compile` was called for such a batch."""
        return self._programs[_structure(batch)](state, batch)


def compile_on_all_hosts(update: CompiledStep, state: TrainState, batch: Batch, run: RunContext) -> None:
    """Compiles for such a state and batch, and says what that took; no host waits in a step for one that cannot.

    Raises:
      TooLittleMemory: a step cannot fit.
      StoppedTogether: it failed on another host.
    """

    def compile() -> None:
        made = update.compile(state, batch)
        what = "Found the step compiled" if made.was_kept else "Compiled the step"
        logging.info("%s in %.1f s, after %.1f s of tracing it.", what, made.compile_seconds, made.trace_seconds)
        if made.memory is not None:
            limit = memory.limit(run.mesh.local_devices)
            logging.info("%s", made.memory.sentence(limit))
            too_little_memory.require_room(made.memory, limit, run.config, run.task)

    hosts.together(compile)


def _structure(batch: Batch) -> Hashable:
    return frozenset((name, array.shape, array.dtype) for name, array in batch.items())


class _FromCache:
    """Whether this thread read a compiled program from the cache on disk while it was in the context."""

    def __init__(self) -> None:
        self.was_read = False

    def __enter__(self) -> "_FromCache":
        self._thread = threading.get_ident()
        jax.monitoring.register_event_listener(self._hear)
        return self

    def _hear(self, event: str, **details: str | int) -> None:
        if event == _FOUND and threading.get_ident() == self._thread:
            self.was_read = True

    def __exit__(self, *error: object) -> None:
        jax.monitoring.unregister_event_listener(self._hear)
