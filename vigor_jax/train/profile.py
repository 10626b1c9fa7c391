"""An XLA trace of a few steps, for looking at where their time goes."""

import contextlib
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import jax
from absl import logging

FOLDER = "profile"
STEPS = 5
# The first steps of a start compile small programs and still profit from batches that were read ahead.
_WARM_UP = 3
_VIEWER_PORT = 8791

# Stops the clock that measures the steps, and waits until the devices have done all of them.
Paused = Callable[[], AbstractContextManager[None]]


class Profile:
    """Traces some steps of a start, on the first host and its devices; a context manager, which ends it in any case.

    The trace begins and ends with idle devices, so that it has whole steps. It changes nothing that is computed. It
    ends before its time where something else than steps follows: a compilation, an evaluation, a checkpoint.

    To be used on every host alike: those that write none wait for their devices at the same steps, by which hosts agree
    on what they measure of each other (`train.host_timings`).
    """

    def __init__(self, workdir: Path, first: int, total: int, *, wanted: bool = True, writes: bool = True):
        """Chooses the steps.

        Args:
          workdir: the trace is written to its folder `FOLDER`.
          first: updates done when this start begins.
          total: updates done at the end of the run.
          wanted: False: nothing is traced.
          writes: this is the first host.
        """
        self._folder = workdir / FOLDER
        # Where few steps are left, cold ones are better than none.
        self._begin = first + 1 + max(0, min(_WARM_UP, total - first - STEPS)) if wanted else None
        self._writes = writes
        self._is_tracing = False
        self._traced: list[int] = []

    def before(self, step: int, paused: Paused) -> None:
        """Begins or ends the trace where that is due; to be called right before each step, counted from 1."""
        if step == self._begin:
            with paused():
                self._start()
        elif len(self._traced) == STEPS:
            self.end(paused, "")

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Marks what is done within as that step, for the viewer."""
        if not self._is_tracing:
            yield
            return
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield
        self._traced.append(step)

    def end(self, paused: Paused, follows: str) -> None:
        """Ends the trace if it is under way, and says where it lies.

        Args:
          paused: as for `before`.
          follows: what ended it, if it may have had more steps otherwise: "the evaluation of step 8".
        """
        if not self._is_tracing:
            return
        with paused():
            self._stop()
        if not self._writes:
            return
        fewer = f" ({STEPS} were wanted, but then came {follows})" if len(self._traced) < STEPS else ""
        logging.info(
            "Profile of steps %d to %d%s: %s\nTo look at it: pip install xprof; xprof --logdir=%s --port=%d\n"
            "Or open perfetto_trace.json.gz, beside the trace, at https://ui.perfetto.dev",
            self._traced[0],
            self._traced[-1],
            fewer,
            self._folder,
            shlex.quote(str(self._folder)),
            _VIEWER_PORT,
        )

    def _start(self) -> None:
        if self._writes:
            options = jax.profiler.ProfileOptions()
            # Tracing each Python call of each thread that decodes would slow down what is to be measured.
            options.python_tracer_level = 0
            jax.profiler.start_trace(self._folder, create_perfetto_trace=True, profiler_options=options)
        self._is_tracing = True

    def _stop(self) -> None:
        self._is_tracing = False
        if self._writes:
            jax.profiler.stop_trace()

    def __enter__(self) -> "Profile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_tracing:
            self._stop()
