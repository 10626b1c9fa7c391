"""Batches filled by threads ahead of the one being used, in order.

The memory of a batch is there first and each example is decoded into its own rows of it, so nothing is stacked, and
Python's share, which threads cannot divide among them, is some 15 microseconds an example. Grain's grows with what is
read ahead: 75 microseconds where that is 28 examples, 1,500 where it is 1,024.
"""

import collections
import concurrent.futures
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from vigor_jax.datasets.ordered_pool import available_cores
from vigor_jax.input.pipeline_depth import BATCHES_READ

Batch = TypeVar("Batch")


def read_ahead(
    batches: Iterable[tuple[Batch, Iterable[Callable[[], object]]]], threads: int
) -> Generator[Batch, None, None]:
    """Yields each batch once all the work on it is done, in order.

    Work on at most three batches, that being handed out and two more, is begun or waits, whatever the number of
    threads. Closing the generator cancels what has not begun.

    Args:
      batches: each with the pieces of work that fill it, which any thread may do in any order. Asked for one by one by
        the thread that asks for whole ones, so this is the place to wait for what decides a batch.
      threads: that do the work; 0: one for each core that this process may use.

    Raises:
      Exception: of a piece of work, after the batches before it; of `batches`, at once.
    """
    pool = concurrent.futures.ThreadPoolExecutor(threads or available_cores(), thread_name_prefix="read-ahead")
    pending: collections.deque[tuple[Batch, list[concurrent.futures.Future[object]]]] = collections.deque()

    def oldest() -> Batch:
        batch, work = pending.popleft()
        for piece in work:
            piece.result()
        return batch

    try:
        for batch, work in batches:
            pending.append((batch, [pool.submit(piece) for piece in work]))
            if len(pending) == BATCHES_READ:
                yield oldest()
        while pending:
            yield oldest()
    finally:
        # Without waiting: a piece may be reading from a disk that does not answer.
        pool.shutdown(wait=False, cancel_futures=True)
