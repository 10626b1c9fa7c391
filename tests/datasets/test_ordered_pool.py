import threading
import time

import pytest

from vigor_jax.datasets.ordered_pool import map_in_order


def test_results_keep_the_order_of_the_items():
    def slow_when_even(item):
        time.sleep(0.002 * (item % 2 == 0))
        return item * item

    assert list(map_in_order(slow_when_even, range(50), threads=4)) == [i * i for i in range(50)]
    assert list(map_in_order(str, [])) == []


def test_items_are_drawn_only_a_little_ahead():
    drawn = []

    def items():
        for i in range(1000):
            drawn.append(i)
            yield i

    results = map_in_order(lambda i: i, items(), threads=2)
    for i in range(100):
        assert next(results) == i
        assert len(drawn) <= i + 1 + 4 * 2
    results.close()
    assert len(drawn) < 120


def test_an_error_arrives_in_its_place_and_stops_the_work():
    worked = []

    def work(i):
        worked.append(i)
        if i == 5:
            raise KeyError("five")
        time.sleep(0.001)
        return i

    results = map_in_order(work, range(10_000), threads=2)
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(KeyError, match="five"):
        next(results)
    assert len(worked) < 100
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]
