"""What happens between two log lines, measured without making the device wait."""

import collections
import dataclasses
import time

import jax

from vigor_jax.input.device_feed import DeviceFeed

# How many steps the host may be ahead of the devices: enough to keep them busy, few enough that batches do not pile
# up in their memory and that the host's clock shows their speed.
_IN_FLIGHT = 3


@dataclasses.dataclass(frozen=True)
class Interval:
    """Some consecutive steps.

    Attributes:
      last_step: updates done at its end.
      steps: how many it has.
      metric_sums: over its steps, scalars on the devices.
      first_nonfinite_step: as of its end, a scalar on the devices.
      timed_steps: those of its steps that `seconds` covers; the first of a start compiles and is not timed.
      seconds: of these steps.
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

    def __init__(self, feed: DeviceFeed, step: int):
        """Starts the clock.

        Args:
          feed: whose waits count.
          step: updates done so far.
        """
        self._feed = feed
        self._step = step
        self._compiled = False
        self._in_flight: collections.deque[jax.Array] = collections.deque()
        self.restart()

    def restart(self) -> None:
        """Starts the clock anew, after time that was not spent on steps; only between intervals."""
        self._metric_sums: dict[str, jax.Array] | None = None
        self._steps = self._timed_steps = 0
        self._start_clock()

    def add(self, metrics: dict[str, jax.Array], first_nonfinite_step: jax.Array) -> None:
        """Counts a step that was handed to the devices; waits only for the steps some way back."""
        self._metric_sums = metrics if self._metric_sums is None else _add(self._metric_sums, metrics)
        self._steps += 1
        self._timed_steps += 1
        self._in_flight.append(first_nonfinite_step)
        if not self._compiled:
            self.drain()
            self._compiled = True
            self._timed_steps = 0
            self._start_clock()
        elif len(self._in_flight) > _IN_FLIGHT:
            self._in_flight.popleft().block_until_ready()

    def drain(self) -> None:
        """Waits until the devices have done every step."""
        if self._in_flight:
            self._in_flight[-1].block_until_ready()

    @property
    def is_empty(self) -> bool:
        """Whether no step was added since the last interval was closed."""
        return self._steps == 0

    def close(self) -> Interval:
        """Ends the interval and begins the next."""
        self._step += self._steps
        interval = Interval(
            last_step=self._step,
            steps=self._steps,
            metric_sums=self._metric_sums,
            first_nonfinite_step=self._in_flight[-1],
            timed_steps=self._timed_steps,
            seconds=time.perf_counter() - self._started,
            wait_seconds=self._feed.wait_seconds - self._waited,
        )
        self.restart()
        return interval

    def _start_clock(self) -> None:
        self._started, self._waited = time.perf_counter(), self._feed.wait_seconds


@jax.jit
def _add(sums: dict[str, jax.Array], metrics: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return jax.tree.map(lambda total, value: total + value, sums, metrics)
