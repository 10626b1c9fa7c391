"""Where the time of a start goes, until its first step is done."""

import time
from collections.abc import Callable

from absl import logging

from vigor_jax.train.progress import duration


class StartUp:
    """Divides the time since it was made among the stages that end one after the other."""

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
