"""What happens between two log lines, measured without making the device wait."""

import collections
import dataclasses
import time
from collections.abc import Callable

import jax

# How many steps the host may be ahead of the devices: enough to keep them busy, few enough that batches do not pile
# up in their memory and that the host's clock shows their speed.
_IN_FLIGHT = 2


@dataclasses.dataclass(frozen=True)
class Interval:
    """Some consecutive steps.

    Attributes:
      last_step: updates done at its end.
      steps: how many it has.
      metric_sums: over its steps, scalars on the devices.
      first_nonfinite_step: as of its end, a scalar on the devices.
      timed_steps: how many the devices finished in its `seconds`: a few later ones than those it has, as the devices
        are behind the host, and without the first step of a start, which compiles.
      seconds: the host's clock.
      wait_seconds: of these, the time spent waiting for batches.
    """

    last_step: int
    steps: int
    metric_sums: dict[str, jax.Array]
    first_nonfinite_step: jax.Array
    timed_steps: int
    seconds: float
    wait_seconds: float

    def is_ready(self) -> bool:
        """Whether the devices have finished it."""
        return self.first_nonfinite_step.is_ready()


class IntervalMeter:
    """Sums metrics on the devices and measures the time of steps."""

    def __init__(self, waited: Callable[[], float], step: int):
        """Starts the clock.

        Args:
          waited: how many seconds have been spent waiting for batches so far.
          step: updates done so far.
        """
        self._waited = waited
        self._step = step
        self._compiled = False
        self._in_flight: collections.deque[jax.Array] = collections.deque()
        self.restart()

    def restart(self) -> None:
        """Starts the clock anew, after time that was not spent on steps; only between intervals."""
        self._metric_sums: dict[str, jax.Array] | None = None
        self._steps = self._finished = 0
        self._start_clock()

    def add(self, metrics: dict[str, jax.Array], first_nonfinite_step: jax.Array) -> None:
        """Counts a step that was handed to the devices; waits only for the one some steps back."""
        self._metric_sums = metrics if self._metric_sums is None else _add(self._metric_sums, metrics)
        self._first_nonfinite_step = first_nonfinite_step
        self._steps += 1
        self._in_flight.append(first_nonfinite_step)
        if not self._compiled:
            self.finish()
            self._compiled = True
            self._finished = 0
            self._start_clock()
        elif len(self._in_flight) > _IN_FLIGHT:
            self._finish_one()

    def finish(self) -> None:
        """Waits until the devices have done every step."""
        while self._in_flight:
            self._finish_one()

    def _finish_one(self) -> None:
        self._in_flight.popleft().block_until_ready()
        self._finished += 1

    def close(self) -> Interval:
        """Ends the interval and begins the next."""
        self._step += self._steps
        interval = Interval(
            last_step=self._step,
            steps=self._steps,
            metric_sums=self._metric_sums,
            first_nonfinite_step=self._first_nonfinite_step,
            timed_steps=self._finished,
            seconds=time.perf_counter() - self._started,
            wait_seconds=self._waited() - self._waited_before,
        )
        self.restart()
        return interval

    def _start_clock(self) -> None:
        self._started, self._waited_before = time.perf_counter(), self._waited()


@jax.jit
def _add(sums: dict[str, jax.Array], metrics: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return jax.tree.map(lambda total, value: total + value, sums, metrics)
