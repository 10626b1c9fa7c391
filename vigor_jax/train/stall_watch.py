"""Says what a run was doing, and where every thread stood, when it has shown no sign of life for too long."""

import faulthandler
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType

from absl import logging

from vigor_jax.train.progress import duration

_STDERR = 2  # the file itself: what Python calls sys.stderr may be another, and may be locked by the thread that hangs
_LOOKS = 4  # within the time that is allowed


class StallWatch:
    """Prints every thread's stack when nothing was heard for some time; the run is never stopped.

    A context manager. A thread looks four times within the allowed time, so that a stall is reported once it has
    lasted between 1 and 1.25 times as long: what the run was doing, for how long, and the Python stack of every
    thread, on standard error and once a stall. `alive` says when it is over.

    The thread needs the interpreter for that, which compiling, waiting for devices and reading leave to it. In case
    something should keep even that, a clock outside of the interpreter prints the stacks if the thread itself does not
    come to look; that one is the process's only one (`faulthandler.dump_traceback_later`).
    """

    def __init__(
        self,
        seconds: float | int,
        *,
        clock: Callable[[], float] = time.monotonic,
        print_stacks: Callable[[], None] | None = None,
    ):
        """Watches nothing before it is entered.

        Args:
          seconds: without a sign of life that are called a stall; 0: never.
          clock: in seconds.
          print_stacks: of all threads; default: on standard error.
        """
        self._seconds = seconds
        self._clock = clock
        self._print_stacks = print_stacks or _print_stacks
        self._doing = "starting"
        self._heard = clock()
        self._reported = False
        # Reentrant: a signal's handler may call `alive` while it is being called.
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def alive(self, doing: str) -> None:
        """A sign of life; costs some microseconds.

        Args:
          doing: what begins now, to be read after "while".
        """
        with self._lock:
            now = self._clock()
            stood, before, was_reported = now - self._heard, self._doing, self._reported
            self._heard, self._doing, self._reported = now, doing, False
        if was_reported:
            logging.warning("Going on after %s of %s.", duration(stood), before)

    def check(self) -> None:
        """Reports the stall, if there is one that was not reported yet; what the thread does at every look."""
        with self._lock:
            silent = self._clock() - self._heard
            if self._reported or silent < self._seconds:
                return
            self._reported = True
            logging.warning(
                "No sign of life for %s while %s. The run is left to go on; every thread's stack follows.",
                duration(silent),
                self._doing,
            )
            self._print_stacks()

    def __enter__(self) -> "StallWatch":
        self._heard = self._clock()
        if self._seconds:
            self._wind_second_clock()
            self._thread = threading.Thread(target=self._watch, name="stall-watch", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            # Not for ever: it may be writing to a standard error that nobody reads.
            self._thread.join(timeout=5)
            faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        while not self._ended.wait(self._seconds / _LOOKS):
            self._wind_second_clock()
            self.check()

    def _wind_second_clock(self) -> None:
        faulthandler.dump_traceback_later(self._seconds, file=_STDERR)


def _print_stacks() -> None:
    names = ", ".join(f"0x{thread.ident:016x} {thread.name}" for thread in threading.enumerate() if thread.ident)
    os.write(_STDERR, f"Threads: {names}\n".encode())
    faulthandler.dump_traceback(file=_STDERR, all_threads=True)
