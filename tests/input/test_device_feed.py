import itertools
import threading
import time

import jax
import numpy as np
import pytest

from vigor_jax.input.device_feed import DeviceFeed
from vigor_jax.input.pipeline_depth import BATCHES_ON_DEVICES


def mesh(devices: int) -> jax.sharding.Mesh:
    return jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("data",))


def make_batches(count: int, rows: int = 8):
    rng = np.random.default_rng(0)
    return [
        {"ground": rng.integers(0, 256, (rows, 4, 6, 3), np.uint8), "tile": rng.integers(0, 99, rows, np.int32)}
        for _ in range(count)
    ]


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_batches_arrive_in_order_split_over_the_devices(devices):
    batches = make_batches(5)
    with DeviceFeed(iter(batches), mesh(devices)) as feed:
        arrived = list(feed)
        assert next(feed, None) is None, "the end is not the end"
    for host, device in zip(batches, arrived, strict=True):
        assert device.keys() == host.keys()
        for key, value in host.items():
            assert device[key].dtype == value.dtype
            assert device[key].shape == value.shape
            shards = sorted(device[key].addressable_shards, key=lambda shard: shard.index[0].start or 0)
            assert [shard.device for shard in shards] == jax.devices()[:devices]
            for shard, rows in zip(shards, np.split(value, devices), strict=True):
                np.testing.assert_array_equal(np.asarray(shard.data), rows)


def test_it_reads_ahead_but_not_further():
    taken = []

    def source():
        for i in itertools.count():
            taken.append(i)
            yield {"x": np.full(8, i)}

    def settled() -> int:
        while True:
            before = len(taken)
            time.sleep(0.1)
            if len(taken) == before:
                return before

    with DeviceFeed(source(), mesh(8)) as feed:
        assert settled() == BATCHES_ON_DEVICES
        assert int(next(feed)["x"][0]) == 0
        assert settled() == BATCHES_ON_DEVICES + 1


def test_an_error_arrives_after_the_batches_before_it_and_stays():
    def source():
        yield from make_batches(2)
        raise OSError("the disk is gone")

    with DeviceFeed(source(), mesh(2)) as feed:
        next(feed), next(feed)
        for _ in range(2):
            with pytest.raises(OSError, match="the disk is gone"):
                next(feed)


def test_a_batch_that_the_devices_do_not_divide_is_an_error_not_a_hang():
    with DeviceFeed(iter(make_batches(1, rows=6)), mesh(4)) as feed, pytest.raises(ValueError, match="evenly divide"):
        next(feed)


def test_closing_ends_the_thread_and_the_batches():
    closed = threading.Event()

    def source():
        try:
            while True:
                yield {"x": np.zeros(8)}
        finally:
            closed.set()

    before = set(threading.enumerate())
    feed = DeviceFeed(source(), mesh(1))
    (thread,) = set(threading.enumerate()) - before
    next(feed)
    start = time.perf_counter()
    feed.close()
    feed.close()
    assert time.perf_counter() - start < 1.0
    assert closed.is_set()
    assert not thread.is_alive()
    with pytest.raises(ValueError, match="closed"):
        next(feed)


def test_waiting_is_counted_only_when_the_batches_are_slow():
    def slow():
        for batch in make_batches(4):
            time.sleep(0.1)
            yield batch

    with DeviceFeed(slow(), mesh(1)) as feed:
        list(feed)
        assert 0.3 < feed.wait_seconds < 2.0

    with DeviceFeed(iter(make_batches(BATCHES_ON_DEVICES)), mesh(1)) as feed:
        time.sleep(0.5)
        for _ in range(BATCHES_ON_DEVICES):
            next(feed)
        assert feed.wait_seconds < 0.1
