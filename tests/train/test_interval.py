import time
import types

import jax.numpy as jnp
import numpy as np

from vigor_jax.train.interval import IntervalMeter


def test_sums_times_and_waits():
    feed = types.SimpleNamespace(wait_seconds=0.0)
    meter = IntervalMeter(lambda: feed.wait_seconds, 10)
    meter.add({"loss": jnp.float32(1)}, jnp.int32(-1))
    feed.wait_seconds += 100  # before the clock started: the first step compiles
    intervals = []
    meter.restart()
    for losses in ([1, 2, 6], [4]):
        for loss in losses:
            feed.wait_seconds += 0.25
            time.sleep(0.01)
            meter.add({"loss": jnp.float32(loss)}, jnp.int32(-1))
        intervals.append(meter.close())
    first, second = intervals
    assert (first.last_step, first.steps, first.timed_steps) == (13, 3, 3)
    assert (second.last_step, second.steps, second.timed_steps) == (14, 1, 1)
    assert (float(first.metric_sums["loss"]), float(second.metric_sums["loss"])) == (9, 4)
    np.testing.assert_allclose([first.wait_seconds, second.wait_seconds], [0.75, 0.25])
    assert first.seconds >= 0.03
    assert second.seconds >= 0.01


def test_the_step_that_compiles_is_counted_but_not_timed():
    feed = types.SimpleNamespace(wait_seconds=5.0)
    meter = IntervalMeter(lambda: feed.wait_seconds, 0)
    time.sleep(0.2)
    feed.wait_seconds = 7.0
    meter.add({"loss": jnp.float32(3)}, jnp.int32(-1))
    meter.add({"loss": jnp.float32(4)}, jnp.int32(-1))
    interval = meter.close()
    assert (interval.steps, interval.timed_steps, interval.wait_seconds) == (2, 1, 0.0)
    assert interval.seconds < 0.2


def test_the_host_holds_on_to_a_few_steps_at_most():
    meter = IntervalMeter(lambda: 0.0, 0)
    for _ in range(10):
        meter.add({"loss": jnp.float32(0)}, jnp.int32(-1))
        assert len(meter._in_flight) <= 3
