import time
import types

import jax.numpy as jnp
import numpy as np

from vigor_jax.train.interval import IntervalMeter


def step(meter, loss):
    meter.add({"loss": jnp.float32(loss)}, jnp.int32(-1))


def test_sums_times_and_waits():
    feed = types.SimpleNamespace(wait_seconds=0.0)
    meter = IntervalMeter(lambda: feed.wait_seconds, 10)
    step(meter, 1)
    feed.wait_seconds += 100  # between intervals
    meter.restart()
    intervals = []
    for losses in ([1, 2, 6, 0], [4], [5]):
        for loss in losses:
            feed.wait_seconds += 0.25
            time.sleep(0.01)
            step(meter, loss)
        if losses == [5]:
            meter.finish()
        intervals.append(meter.close())
    assert [interval.last_step for interval in intervals] == [14, 15, 16]
    assert [interval.steps for interval in intervals] == [4, 1, 1]
    # Two steps are still on their way at the end of the first two intervals, and counted when they are done.
    assert [interval.timed_steps for interval in intervals] == [2, 1, 3]
    assert [float(interval.metric_sums["loss"]) for interval in intervals] == [9, 4, 5]
    np.testing.assert_allclose([interval.wait_seconds for interval in intervals], [1, 0.25, 0.25])
    assert intervals[0].seconds >= 0.04
    assert intervals[1].seconds >= 0.01


def test_the_step_that_compiles_is_counted_but_not_timed():
    feed = types.SimpleNamespace(wait_seconds=5.0)
    meter = IntervalMeter(lambda: feed.wait_seconds, 0)
    time.sleep(0.5)
    feed.wait_seconds = 7.0
    step(meter, 3)
    step(meter, 4)
    meter.finish()
    interval = meter.close()
    assert (interval.steps, interval.timed_steps, interval.wait_seconds) == (2, 1, 0.0)
    assert interval.seconds < 0.5


def test_the_host_holds_on_to_a_few_steps_at_most():
    meter = IntervalMeter(lambda: 0.0, 0)
    for _ in range(10):
        step(meter, 0)
        assert len(meter._in_flight) <= 2
