"""Brings what the devices found to the mined table, in the background."""

import atexit
import queue
import threading
import weakref

import jax
import numpy as np

from vigor_jax.mining.mined_table import MinedTable

_END_SECONDS = 60.0  # longer than steps take; the devices may never finish, as where another host is gone


class FeedbackThread:
    """Records the feedback of updates that are still being computed, in the order in which they were dispatched.

    An error in the background ends the table, so that nobody waits for feedback that will not come, and is raised by
    the next `put`, `drain` or `close`. The thread ends with `close`, with this object, and with the process.
    """

    def __init__(self, table: MinedTable):
        """Starts the thread."""
        self._recorder = recorder = _Recorder(table)
        self._thread = threading.Thread(target=recorder.run, name="mining-feedback", daemon=True)
        self._thread.start()
        _running[self._thread] = recorder
        # Does not wait for it: this may be called wherever Python collects garbage, in the thread itself even.
        weakref.finalize(self, recorder.handed_over.put, None).atexit = False

    def put(self, step: int, queries: jax.Array | np.ndarray, hardest: jax.Array | np.ndarray) -> None:
        """Hands over the feedback of the update of a step (`MinedTable.record`) without waiting for it.

        The arrays must be whole on every host, and must not be donated.
        """
        self._raise_error()
        if not self._thread.is_alive():
            raise ValueError("this FeedbackThread is closed")
        self._recorder.handed_over.put((step, queries, hardest))

    def drain(self) -> None:
        """Waits until all that was handed over has been recorded."""
        if self._thread.is_alive():
            reached = threading.Event()
            self._recorder.handed_over.put(reached)
            reached.wait()
        self._raise_error()

    def close(self) -> None:
        """Records what was handed over and ends the thread; can be called again. The table stays open.

        Devices that take longer than a minute are not waited for: after a failure they may never be done.
        """
        self._recorder.handed_over.put(None)
        self._thread.join(_END_SECONDS)
        self._raise_error()

    def _raise_error(self) -> None:
        if self._recorder.error is not None:
            raise self._recorder.error


class _Recorder:
    """What the thread holds, which is not the `FeedbackThread`: that could never be collected while the thread runs."""

    def __init__(self, table: MinedTable):
        self._table = table
        self.error: BaseException | None = None
        # Feedback, events to be set when they are reached, or the end. A simple queue, as its `put` may interrupt
        # itself: a finalizer calls it.
        self.handed_over: queue.SimpleQueue[tuple | threading.Event | None] = queue.SimpleQueue()

    def run(self) -> None:
        while (item := self.handed_over.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
            elif self.error is None:
                self._record(*item)

    def _record(self, step: int, queries: jax.Array | np.ndarray, hardest: jax.Array | np.ndarray) -> None:
        try:
            self._table.record(step, *jax.device_get((queries, hardest)))
        except BaseException as error:  # whoever uses the FeedbackThread raises it
            self.error = error
            self._table.close(error)


_running: weakref.WeakKeyDictionary[threading.Thread, _Recorder] = weakref.WeakKeyDictionary()


@atexit.register
def _end_all() -> None:
    """Waits for the threads.

    Where a run ends by an error one may still wait for the devices, and a thread that Python's end meets there aborts
    the process: the exit code would be another one.
    """
    for thread, recorder in list(_running.items()):
        recorder.handed_over.put(None)
        thread.join(_END_SECONDS)
