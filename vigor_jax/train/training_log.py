"""Writes each interval's figures once the devices have them, and stops a run that became non-finite."""

import array
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import logging

from vigor_jax.tasks.task import Task
from vigor_jax.train import host_timings, memory
from vigor_jax.train.host_timings import HostTimings
from vigor_jax.train.log_interval import Interval
from vigor_jax.train.progress import Progress
from vigor_jax.workdir.metrics_log import MetricWriter


class NonFiniteStep(Exception):
    """Loss, gradient or model state of update `step` (counted from 1) was not finite."""

    def __init__(self, step: int):
        super().__init__(step)
        self.step = step


class TrainingLog:
    """One interval waits here until the devices have finished it; by then the next one is under way."""

    def __init__(
        self,
        task: Task,
        batch_size: int,
        total_steps: int,
        progress: Progress,
        writer: MetricWriter | None,
        timings: HostTimings | None = None,
    ):
        """Starts with nothing measured.

        Args:
          task: diagnoses the averaged metrics.
          batch_size: examples a step.
          total_steps: of the whole run, for the time left.
          progress: shows the figures.
          writer: stores them; None on all hosts but the first.
          timings: compares the hosts; None if there is one only.
        """
        self._task = task
        self._batch_size = batch_size
        self._total_steps = total_steps
        self._progress = progress
        self._writer = writer
        self._timings = timings
        self._pending: Interval | None = None
        self._gathered: jax.Array | None = None
        self._diagnosed = False
        self._slow_readers: set[int] = set()
        self._step_seconds = array.array("d")  # of every step of this start: 8 MB for a million
        self._seconds = 0.0
        self._wait_seconds = 0.0

    def put(self, interval: Interval) -> None:
        """Takes an interval that the devices may still be working on; the one before it is written.

        Raises:
          NonFiniteStep: in the one before.
        """
        self.flush()
        self._pending = interval
        # On every host after the same steps, for it is a program of all of them.
        self._gathered = self._timings.gather(interval) if self._timings and interval.timed_steps else None

    def poll(self) -> None:
        """Writes the waiting interval if the devices have finished it; never waits.

        Raises:
          NonFiniteStep: in this interval.
        """
        if (
            self._pending is not None
            and self._pending.is_ready()
            and (self._gathered is None or self._gathered.is_ready())
        ):
            self.flush()

    def flush(self) -> None:
        """Writes the waiting interval, waiting for the devices.

        Raises:
          NonFiniteStep: in this interval.
        """
        interval, gathered = self._pending, self._gathered
        self._pending = self._gathered = None
        if interval is None:
            return
        sums, first_nonfinite_step = jax.device_get((interval.metric_sums, interval.first_nonfinite_step))
        if first_nonfinite_step >= 0:
            raise NonFiniteStep(int(first_nonfinite_step))
        hosts = None if gathered is None else self._timings.read(gathered)
        self._write(interval, {name: float(value) / interval.steps for name, value in sums.items()}, hosts)

    def throughput(self) -> dict[str, Any]:
        """Speed of this start's steps; compiling, evaluations and checkpoints not counted. None where unmeasured."""
        return _speed(self._step_seconds, self._seconds, self._wait_seconds, self._batch_size)

    def _write(self, interval: Interval, means: dict[str, float], hosts: np.ndarray | None) -> None:
        self._step_seconds.extend(interval.step_seconds)
        self._seconds += interval.seconds
        self._wait_seconds += interval.wait_seconds
        figures = dict(means)
        if interval.timed_steps:
            speed = _speed(interval.step_seconds, interval.seconds, interval.wait_seconds, self._batch_size)
            figures |= {name: value for name, value in speed.items() if name != "timed_steps"}
            self._progress.report(
                interval.last_step,
                1 + (interval.last_step - 1) // self._task.steps_per_epoch,
                loss=means["loss"],
                examples_per_s=speed["examples_per_s"],
                wait=speed["data_wait_share"],
                left_s=(self._total_steps - interval.last_step) * self._seconds / len(self._step_seconds),
            )
        if self._writer is not None:
            figures |= memory.measure()
            if hosts is not None:
                figures |= host_timings.figures(hosts, interval.timed_steps)
                self._warn_of_a_slow_reader(interval, hosts)
            self._writer.write(interval.last_step, {f"train/{name}": value for name, value in figures.items()})
        self._diagnose(means)

    def _warn_of_a_slow_reader(self, interval: Interval, hosts: np.ndarray) -> None:
        """Once a host; how it goes on is in the metrics."""
        slow = host_timings.slow_reader(hosts)
        if slow is None or slow[0] in self._slow_readers:
            return
        host, share, others = slow
        self._slow_readers.add(host)
        logging.warning(
            "Host %d waited for data in %.0f %% of the time of steps %d to %d, the others in %.0f %% (median), and in "
            "every step they wait for it: its disk, its network or its processors are slower.",
            host,
            100 * share,
            interval.last_step - interval.steps + 1,
            interval.last_step,
            100 * others,
        )

    def _diagnose(self, means: dict[str, float]) -> None:
        """Warns when a failure appears, not in every interval that it lasts, and on one host."""
        sentence = self._task.diagnose(means)
        if sentence and not self._diagnosed and self._writer is not None:
            logging.warning("%s", sentence)
        self._diagnosed = sentence is not None


def _speed(step_seconds: Sequence[float], seconds: float, wait_seconds: float, batch_size: int) -> dict[str, Any]:
    names = ("examples_per_s", "step_ms", "step_ms_p50", "step_ms_p95", "step_ms_max", "data_wait_share")
    steps = len(step_seconds)
    if not steps:
        return dict.fromkeys(names) | {"timed_steps": 0}
    percentiles = 1000 * np.percentile(step_seconds, (50, 95, 100))
    values = (steps * batch_size / seconds, 1000 * seconds / steps, *map(float, percentiles), wait_seconds / seconds)
    return dict(zip(names, values, strict=True)) | {"timed_steps": steps}
