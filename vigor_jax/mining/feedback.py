"""Brings what the devices found to the mined table, in the background."""

import queue
import threading
import weakref

import jax
import numpy as np

from vigor_jax.mining.mined_table import MinedTable

_EXIT_SECONDS = 60.0  # longer than steps take; the devices may never finish, as where another host is gone


class FeedbackThread:
    """Records the feedback of updates that are still being computed, in the order in which they were dispatched.

    An error in the background ends the table, so that nobody waits for feedback that will not come, and is raised by
    the next `put`, `drain` or `close`.
    """

    def __init__(self, table: MinedTable):
        self._table = table
        self._error: BaseException | None = None
        self._updates: queue.Queue[tuple[int, jax.Array | np.ndarray, jax.Array | np.ndarray] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._record, name="mining-feedback", daemon=True)
        self._thread.start()
        # Where a run ends by an error it may still wait for the devices, and a thread that Python's end meets there
        # aborts the process: the exit code would be another one.
        weakref.finalize(self, _end, self._updates, self._thread)

    def put(self, step: int, queries: jax.Array | np.ndarray, hardest: jax.Array | np.ndarray) -> None:
        """Hands over the feedback of the update of a step (`MinedTable.record`) without waiting for it.

        The arrays must be whole on every host, and must not be donated.
        """
        self._raise_error()
        if not self._thread.is_alive():
            raise ValueError("this FeedbackThread is closed")
        self._updates.put((step, queries, hardest))

    def drain(self) -> None:
        """Waits until all that was handed over has been recorded."""
        self._updates.join()
        self._raise_error()

    def close(self) -> None:
        """Records what was handed over and ends the thread; can be called again. The table stays open."""
        if self._thread.is_alive():
            self._updates.put(None)
            self._thread.join()
        self._raise_error()

    def _record(self) -> None:
        while (update := self._updates.get()) is not None:
            if self._error is None:
                try:
                    step, queries, hardest = update
                    self._table.record(step, *jax.device_get((queries, hardest)))
                except BaseException as error:  # whoever uses this object raises it
                    self._error = error
                    self._table.close(error)
            self._updates.task_done()
        self._updates.task_done()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def _end(updates: queue.Queue, thread: threading.Thread) -> None:
    updates.put(None)
    thread.join(_EXIT_SECONDS)
