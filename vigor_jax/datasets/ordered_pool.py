"""Work on many threads, results in order, memory bounded."""

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Iterator[Result]:
    """Yields function(item) for each item, in order, worked on by a pool of threads.

    At most four items a thread are drawn or held ahead of the consumer. An exception of the function, or the consumer
    closing the iterator, cancels what has not begun.

    Args:
      function: should spend its time outside Python's lock, as image codecs do.
      items: drawn from the consumer's thread.
      threads: None: one a core this process may use.
    """
    threads = threads or available_cores()
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    waiting: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 4 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def available_cores() -> int:
    """Cores this process may use, which in a container or under Slurm are fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
