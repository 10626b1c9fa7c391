import functools
import itertools
import random
import threading
import time

import pytest

from vigor_jax.input.read_ahead import read_ahead

ROWS = 4


def rows_of_steps(last: int | None = None, before_each=lambda step, row: None, begun: list | None = None):
    """Batch t is [10 t, 10 t + 1, ...], filled row by row."""

    def fill(batch, step, row):
        before_each(step, row)
        batch[row] = 10 * step + row

    for step in itertools.count() if last is None else range(last):
        if begun is not None:
            begun.append(step)
        batch = [None] * ROWS
        yield batch, [functools.partial(fill, batch, step, row) for row in range(ROWS)]


@pytest.mark.parametrize("threads", [1, 3, 50])
@pytest.mark.parametrize("last", [0, 1, 2, 3, 9])
def test_every_batch_is_whole_and_in_order(threads, last):
    delays = random.Random(0)
    expected = [[10 * step + row for row in range(ROWS)] for step in range(last)]
    assert list(read_ahead(rows_of_steps(last, lambda *_: time.sleep(delays.uniform(0, 0.002))), threads)) == expected


@pytest.mark.parametrize("threads", [1, 2, 50])
def test_three_batches_are_begun_however_many_threads_there_are(threads):
    begun: list[int] = []
    batches = read_ahead(rows_of_steps(begun=begun), threads)
    for step in range(5):
        next(batches)
        assert begun == list(range(step + 3))
    batches.close()


def test_an_error_comes_after_the_batches_before_it_and_the_first_of_a_batch_is_raised():
    def fail(step, row):
        if step == 2 and row in (1, 3):
            raise OSError(f"row {row}")

    batches = read_ahead(rows_of_steps(before_each=fail), 3)
    assert [batch[0] for batch in itertools.islice(batches, 2)] == [0, 10]
    with pytest.raises(OSError, match="row 1"):
        next(batches)
    assert next(batches, None) is None


def test_closing_does_not_wait_for_work_that_waits_itself():
    never = threading.Event()
    before = set(threading.enumerate())
    batches = read_ahead(rows_of_steps(before_each=lambda step, row: step < 2 or never.wait(60)), 2)
    next(batches)
    workers = set(threading.enumerate()) - before
    start = time.perf_counter()
    batches.close()
    assert time.perf_counter() - start < 10
    never.set()
    for worker in workers:
        worker.join(10)
        assert not worker.is_alive()


def test_without_a_number_there_is_a_thread_for_each_core(monkeypatch):
    monkeypatch.setattr("vigor_jax.input.read_ahead.available_cores", lambda: 3)
    three, workers = threading.Barrier(3), set()

    def meet():
        workers.add(threading.get_ident())
        three.wait(30)

    assert list(read_ahead([("batch", [meet] * 9)], 0)) == ["batch"]
    assert len(workers) == 3
