"""Puts host batches on the devices ahead of the step that uses them."""

import queue
import threading
import time
from collections.abc import Iterator
from types import TracebackType

import jax
import numpy as np

from vigor_jax.input.pipeline_depth import BATCHES_ON_DEVICES
from vigor_jax.parallel.mesh import AXIS


class DeviceFeed:
    """Iterates over batches as global arrays, split along the first axis, transferred in a background thread.

    The arrays cross the bus as they are (images as uint8). An exception of the batches, or their end, reaches the
    consumer after the batches before it. A context manager: leaving it ends the thread and closes the batches.

    Attributes:
      wait_seconds: how long the consumer has waited for batches so far.
    """

    def __init__(self, batches: Iterator[dict[str, np.ndarray]], mesh: jax.sharding.Mesh):
        """Starts the transfers.

        Args:
          batches: this host's rows of each batch; read by one thread, never written to again by their maker.
          mesh: of all hosts' devices.
        """
        self.wait_seconds = 0.0
        self._batches = batches
        self._sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))
        self._ready: queue.SimpleQueue[dict[str, jax.Array] | BaseException] = queue.SimpleQueue()
        self._places = threading.Semaphore(BATCHES_ON_DEVICES)
        self._closed = threading.Event()
        self._end: BaseException | None = None
        self._thread = threading.Thread(target=self._transfer, name="device-feed", daemon=True)
        self._thread.start()

    def _transfer(self) -> None:
        try:
            while True:
                self._places.acquire()
                if self._closed.is_set():
                    return
                batch = next(self._batches)
                # In one call: one an array costs a millisecond of Python a batch more.
                arrays = jax.make_array_from_process_local_data(self._sharding, batch)
                # Waiting here, not in the step, counts a slow bus as the wait for data that it is.
                self._ready.put(jax.block_until_ready(arrays))
        except BaseException as error:  # the end of the batches too: the consumer raises it
            self._ready.put(error)

    def __iter__(self) -> "DeviceFeed":
        return self

    def __next__(self) -> dict[str, jax.Array]:
        if self._closed.is_set():
            raise ValueError("this DeviceFeed is closed")
        if self._end is None:
            start = time.perf_counter()
            batch = self._ready.get()
            self.wait_seconds += time.perf_counter() - start
            if isinstance(batch, dict):
                self._places.release()
                return batch
            self._end = batch
        raise self._end

    def close(self) -> None:
        """Ends the thread, after the batch it may be reading, and closes the batches; can be called again."""
        self._closed.set()
        self._places.release()
        self._thread.join()
        close = getattr(self._batches, "close", None)  # generators have it, plain iterators do not
        if close is not None:
            close()

    def __enter__(self) -> "DeviceFeed":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
