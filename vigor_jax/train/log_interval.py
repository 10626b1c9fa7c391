"""What happens between two log lines, measured without making the device wait."""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator

import jax

from vigor_jax.input.pipeline_depth import STEPS_IN_FLIGHT


@dataclasses.dataclass(frozen=True)
class Interval:
    """Some consecutive steps.

    Attributes:
      last_step: updates done at its end.
      steps: how many it has.
      metric_sums: over its steps, scalars on the devices.
      first_nonfinite_step: as of its end, a scalar on the devices.
      step_seconds: the time between a finished step and the one before it, for each that the devices finished in its
        `seconds`: a few later ones than those it has, as the devices are behind the host, and without the first step
        of a start, which finds everything cold.
      seconds: the host's clock.
      wait_seconds: of these, the time spent waiting for batches.
      device_seconds: of these, the time spent waiting for the devices.
    """

    last_step: int
    steps: int
    metric_sums: dict[str, jax.Array]
    first_nonfinite_step: jax.Array
    step_seconds: tuple[float, ...]
    seconds: float
    wait_seconds: float
    device_seconds: float

    @property
    def timed_steps(self) -> int:
        """How many steps the devices finished in its `seconds`."""
        return len(self.step_seconds)

    @property
    def host_seconds(self) -> float:
        """What the host itself worked: of its `seconds` the time spent waiting neither for batches nor for devices."""
        return max(0.0, self.seconds - self.wait_seconds - self.device_seconds)

    def is_ready(self) -> bool:
        """Whether the devices have finished it."""
        return self.first_nonfinite_step.is_ready()


class IntervalMeter:
    """Sums metrics on the devices and measures the time of steps."""

    def __init__(self, waited: Callable[[], float], step: int, clock: Callable[[], float] = time.perf_counter):
        """Starts the clock.

        Args:
          waited: how many seconds have been spent waiting for batches so far.
          step: updates done so far.
          clock: in seconds.
        """
        self._waited = waited
        self._step = step
        self._clock = clock
        self._warm = False
        self._in_flight: collections.deque[jax.Array] = collections.deque()
        self.restart()

    def restart(self) -> None:
        """Starts the clock anew, after time that was not spent on steps; only between intervals."""
        self._begin()
        self._last_finished = self._started

    def add(self, metrics: dict[str, jax.Array], first_nonfinite_step: jax.Array) -> None:
        """Counts a step that was handed to the devices; waits only for the one some steps back."""
        before = self._clock()
        self._metric_sums = metrics if self._metric_sums is None else _add(self._metric_sums, metrics)
        # A CPU may do its steps in this very call.
        self._device_seconds += self._clock() - before
        self._first_nonfinite_step = first_nonfinite_step
        self._steps += 1
        self._in_flight.append(first_nonfinite_step)
        if not self._warm:
            self.finish()
            self._warm = True
            self._start_clock()
            self._last_finished = self._started
        elif len(self._in_flight) > STEPS_IN_FLIGHT:
            self._finish_one()

    def finish(self) -> None:
        """Waits until the devices have done every step."""
        while self._in_flight:
            self._finish_one()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock for what is done within, such as compiling, once the devices have done every step.

        No batch may be waited for meanwhile. On every host after the same steps: which steps an interval has timed
        depends on it, and hosts that have timed none compare nothing with the others.
        """
        self.finish()
        before = self._clock()
        try:
            yield
        finally:
            passed = self._clock() - before
            self._started += passed
            self._last_finished += passed

    def _finish_one(self) -> None:
        before = self._clock()
        self._in_flight.popleft().block_until_ready()
        now = self._clock()
        self._device_seconds += now - before
        self._step_seconds.append(now - self._last_finished)
        self._last_finished = now

    def close(self) -> Interval:
        """Ends the interval and begins the next."""
        self._step += self._steps
        interval = Interval(
            last_step=self._step,
            steps=self._steps,
            metric_sums=self._metric_sums,
            first_nonfinite_step=self._first_nonfinite_step,
            step_seconds=tuple(self._step_seconds),
            seconds=self._clock() - self._started,
            wait_seconds=self._waited() - self._waited_before,
            device_seconds=self._device_seconds,
        )
        self._begin()
        return interval

    def _begin(self) -> None:
        self._metric_sums: dict[str, jax.Array] | None = None
        self._steps = 0
        self._start_clock()

    def _start_clock(self) -> None:
        self._started, self._waited_before = self._clock(), self._waited()
        self._step_seconds: list[float] = []
        self._device_seconds = 0.0


@jax.jit
def _add(sums: dict[str, jax.Array], metrics: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return jax.tree.map(lambda total, value: total + value, sums, metrics)
