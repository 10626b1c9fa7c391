"""Where the run is: a bar on a terminal, plain lines elsewhere; and how long it took to get going."""

import os
import sys
import time
from collections.abc import Callable
from types import TracebackType

from absl import logging
from tqdm import tqdm


class Progress:
    """Shows the steps done, the speed, the share of time spent waiting for data and the time left.

    A context manager. On a terminal one bar, redrawn; otherwise one log line an interval, as bars fill log files.
    """

    def __init__(self, total_steps: int, done: int, *, show: bool):
        """Starts.

        Args:
          total_steps: of the whole run.
          done: by earlier starts.
          show: False on all hosts but one.
        """
        self._total = total_steps
        self._show = show
        self._bar = None
        self._figures = ""
        if show and _is_terminal():
            layout = "{percentage:3.0f}%|{bar:12}| step {n_fmt}/{total_fmt}{postfix}"
            self._bar = tqdm(total=total_steps, initial=done, bar_format=layout, dynamic_ncols=True, leave=False)

    def advance(self) -> None:
        """One more step was handed to the devices."""
        if self._bar is not None:
            self._bar.set_postfix_str(self._figures, refresh=False)
            self._bar.update()

    def note(self, what: str) -> None:
        """Says on the bar, until the next step, why it stands still."""
        if self._bar is not None:
            self._bar.set_postfix_str(what)

    def report(self, step: int, epoch: int, *, loss: float, examples_per_s: float, wait: float, left_s: float) -> None:
        """Shows one interval's figures.

        Args:
          step: updates done at its end.
          epoch: the step belongs to, counted from 1.
          loss: mean of the interval.
          examples_per_s: over all devices.
          wait: share of the time spent waiting for data, in [0, 1].
          left_s: seconds of training to go, evaluations not counted.
        """
        figures = f"loss {loss:.4f}, {examples_per_s:.4g} examples/s, data wait {wait:.0%}, {duration(left_s)} left"
        if self._bar is not None:
            self._figures = f"epoch {epoch}, {figures}"
            self._bar.set_postfix_str(self._figures)
        elif self._show:
            logging.info("step %d/%d, epoch %d: %s", step, self._total, epoch, figures)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


class StartUpTimes:
    """Divides the time from its making to the first step among the stages between them."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        """Starts the clock, in seconds."""
        self._clock = clock
        self._last = clock()
        self._stages: list[tuple[str, float]] = []
        self._told = False

    def ended(self, stage: str) -> None:
        """Says that what was done since the stage before is over: `stage`, a noun."""
        now = self._clock()
        self._stages.append((stage, now - self._last))
        self._last = now

    def tell(self, last: str) -> None:
        """Logs all stages up to the last one, which ends now; once, whatever ends later."""
        if self._told:
            return
        self._told = True
        self.ended(last)
        listed = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self._stages)
        whole = duration(sum(seconds for _, seconds in self._stages))
        logging.info("The %s was done after %s: %s.", last, whole, listed)


def _is_terminal() -> bool:
    """Whether standard error can show a bar: tqdm draws none on a terminal of no size, as some containers have."""
    return sys.stderr.isatty() and min(os.get_terminal_size(sys.stderr.fileno())) > 0


def duration(seconds: float) -> str:
    """Writes `45 s`, `3 min 05 s` or `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
