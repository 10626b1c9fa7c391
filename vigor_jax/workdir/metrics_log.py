"""Metrics on disk: JSON lines for programs, TensorBoard events for people."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from vigor_jax.workdir.errors import RunFileError

FILE_NAME = "metrics.jsonl"
_EVENTS = "events"  # begins the names of TensorBoard's files


class MetricWriter:
    """Appends to `metrics.jsonl` and to TensorBoard events in the same directory; a context manager.

    One JSON object a line, with `step` first. What was written beyond the step a run goes on from is taken out, so
    that no step appears twice.
    """

    def __init__(self, directory: Path, first_step: int, *, evaluates_again: bool = False):
        """Opens both.

        Args:
          directory: exists.
          first_step: updates done already; later lines are dropped.
          evaluates_again: an evaluation at that very step is dropped too, for its process ended before the checkpoint
            that has it was complete.
        """
        path = directory / FILE_NAME
        kept = [
            row
            for row in read(path)
            if row["step"] <= first_step and not (evaluates_again and row["step"] == first_step and "epoch" in row)
        ]
        # Through a second file, lest a run killed here loses its history.
        rewritten = path.with_suffix(".tmp")
        rewritten.write_text("".join(json.dumps(row) + "\n" for row in kept))
        rewritten.replace(path)
        self._lines = path.open("a")
        # Not by way of a SummaryWriter, whose thread dies of a full disk and leaves its callers waiting.
        self._events = EventsWriter(str(directory / _EVENTS))
        start = SessionLog(status=SessionLog.START)  # has TensorBoard forget the later ones
        self._events.write_event(Event(step=first_step + 1, session_log=start))

    def write(self, step: int, values: Mapping[str, float | int]) -> None:
        """Adds one row; it is on disk when this returns."""
        self._lines.write(json.dumps({"step": step, **values}) + "\n")
        self._lines.flush()
        now = time.time()
        for name, value in values.items():
            self._events.write_event(Event(wall_time=now, step=step, summary=scalar(name, value)))
        self._events.flush()

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lines.close()
        self._events.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file; none if it does not exist. A last line cut off by a killed process is left out.

    Raises:
      RunFileError: a line is damaged.
    """
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_text().split("\n")[:-1], 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise RunFileError(f"{path} is damaged: line {number}: {error}. Remove the line, or mend it.") from error
    return rows
