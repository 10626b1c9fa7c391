"""Writes each interval's figures once the devices have them, and stops a run that became non-finite."""

from typing import Any

import jax
from absl import logging

from vigor_jax.tasks.task import Task
from vigor_jax.train.interval import Interval
from vigor_jax.train.metric_writer import MetricWriter
from vigor_jax.train.progress import Progress


class NonFiniteStep(Exception):
    """Loss, gradient or model state of update `step` (counted from 1) was not finite."""

    def __init__(self, step: int):
        super().__init__(step)
        self.step = step


class TrainingLog:
    """One interval waits here until the devices have finished it; by then the next one is under way."""

    def __init__(self, task: Task, batch_size: int, total_steps: int, progress: Progress, writer: MetricWriter | None):
        """Starts with nothing measured.

        Args:
          task: diagnoses the averaged metrics.
          batch_size: examples a step.
          total_steps: of the whole run, for the time left.
          progress: shows the figures.
          writer: stores them; None on all hosts but the first.
        """
        self._task = task
        self._batch_size = batch_size
        self._total_steps = total_steps
        self._progress = progress
        self._writer = writer
        self._pending: Interval | None = None
        self._diagnosed = False
        self._timed_steps = 0
        self._seconds = 0.0
        self._wait_seconds = 0.0

    def put(self, interval: Interval) -> None:
        """Takes an interval that the devices may still be working on; the one before it is written.

        Raises:
          NonFiniteStep: in the one before.
        """
        self.flush()
        self._pending = interval

    def poll(self) -> None:
        """Writes the waiting interval if the devices have finished it; never waits.

        Raises:
          NonFiniteStep: in this interval.
        """
        if self._pending is not None and self._pending.is_ready():
            self.flush()

    def flush(self) -> None:
        """Writes the waiting interval, waiting for the devices.

        Raises:
          NonFiniteStep: in this interval.
        """
        interval, self._pending = self._pending, None
        if interval is None:
            return
        sums, first_nonfinite_step = jax.device_get((interval.metric_sums, interval.first_nonfinite_step))
        if first_nonfinite_step >= 0:
            raise NonFiniteStep(int(first_nonfinite_step))
        self._write(interval, {name: float(value) / interval.steps for name, value in sums.items()})

    def throughput(self) -> dict[str, Any]:
        """Speed of this start's steps; compiling, evaluations and checkpoints not counted. None where unmeasured."""
        return _speed(self._timed_steps, self._seconds, self._wait_seconds, self._batch_size)

    def _write(self, interval: Interval, means: dict[str, float]) -> None:
        self._timed_steps += interval.timed_steps
        self._seconds += interval.seconds
        self._wait_seconds += interval.wait_seconds
        row = {f"train/{name}": value for name, value in means.items()}
        if interval.timed_steps:
            speed = _speed(interval.timed_steps, interval.seconds, interval.wait_seconds, self._batch_size)
            row |= {f"train/{name}": value for name, value in speed.items() if name != "timed_steps"}
            self._progress.report(
                interval.last_step,
                1 + (interval.last_step - 1) // self._task.steps_per_epoch,
                loss=means["loss"],
                examples_per_s=speed["examples_per_s"],
                wait=speed["data_wait_share"],
                left_s=(self._total_steps - interval.last_step) * self._seconds / self._timed_steps,
            )
        if self._writer is not None:
            self._writer.write(interval.last_step, row)
        self._diagnose(means)

    def _diagnose(self, means: dict[str, float]) -> None:
        """Warns when a failure appears, not in every interval that it lasts."""
        sentence = self._task.diagnose(means)
        if sentence and not self._diagnosed:
            logging.warning("%s", sentence)
        self._diagnosed = sentence is not None


def _speed(steps: int, seconds: float, wait_seconds: float, batch_size: int) -> dict[str, Any]:
    return {
        "examples_per_s": steps * batch_size / seconds if steps else None,
        "step_ms": 1000 * seconds / steps if steps else None,
        "data_wait_share": wait_seconds / seconds if steps else None,
        "timed_steps": steps,
    }
