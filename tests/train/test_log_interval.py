import types
from unittest import mock

import jax
import jax.numpy as jnp
import pytest

from vigor_jax.train.log_interval import IntervalMeter


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def step(meter, loss):
    meter.add({"loss": jnp.float32(loss)}, jnp.int32(-1))


def device_step(clock, done_at):
    """Handed to `add` as the result of a step that the device has done by then."""

    def wait():
        clock.seconds = max(clock.seconds, done_at)

    return mock.Mock(spec=jax.Array, block_until_ready=wait)


def test_sums_times_and_waits(clock):
    feed = types.SimpleNamespace(wait_seconds=0.0)
    meter = IntervalMeter(lambda: feed.wait_seconds, 10, clock)
    step(meter, 1)
    feed.wait_seconds += 100  # between intervals
    clock.seconds += 100
    meter.restart()
    intervals = []
    for losses in ([1, 2, 6, 0], [4], [5]):
        for loss in losses:
            feed.wait_seconds += 0.25
            clock.seconds += 0.25 + 0.5 * loss
            step(meter, loss)
        if losses == [5]:
            meter.finish()
        intervals.append(meter.close())
    assert [interval.last_step for interval in intervals] == [14, 15, 16]
    assert [interval.steps for interval in intervals] == [4, 1, 1]
    # Two steps are still on their way at the end of the first two intervals, and counted when they are done.
    assert [interval.timed_steps for interval in intervals] == [2, 1, 3]
    assert [float(interval.metric_sums["loss"]) for interval in intervals] == [9, 4, 5]
    assert [interval.wait_seconds for interval in intervals] == [1, 0.25, 0.25]
    assert [interval.seconds for interval in intervals] == [5.5, 2.25, 2.75]
    assert [interval.host_seconds for interval in intervals] == [4.5, 2, 2.5]
    # The third step was handed over, and so the first was seen finished, after 1 + 2 + 6 halves and three waits.
    assert [interval.step_seconds for interval in intervals] == [(5.25, 0.25), (2.25,), (2.75, 0, 0)]


def test_the_step_that_compiles_is_counted_but_not_timed(clock):
    feed = types.SimpleNamespace(wait_seconds=5.0)
    meter = IntervalMeter(lambda: feed.wait_seconds, 0, clock)
    clock.seconds = 50.0
    feed.wait_seconds = 7.0
    step(meter, 3)
    clock.seconds = 50.5
    step(meter, 4)
    meter.finish()
    interval = meter.close()
    assert (interval.steps, interval.step_seconds, interval.wait_seconds) == (2, (0.5,), 0.0)
    assert interval.seconds == 0.5


def test_a_step_takes_from_the_end_of_the_one_before_also_across_intervals(clock):
    meter = IntervalMeter(lambda: 0.0, 0, clock)
    meter.add({}, device_step(clock, 30.0))  # compiles
    finished = [31.0, 32.0, 33.5, 34.5, 39.5, 40.5]
    intervals = []
    for k, done_at in enumerate(finished):
        clock.seconds += 0.125  # what the host itself works
        meter.add({}, device_step(clock, done_at))
        if k in (2, 3):
            intervals.append(meter.close())
    meter.finish()
    intervals.append(meter.close())
    assert [interval.step_seconds for interval in intervals] == [(1.0,), (1.0,), (1.5, 1.0, 5.0, 1.0)]
    seconds = [interval.seconds for interval in intervals]
    assert sum(seconds) == finished[-1] - 30
    assert [interval.host_seconds for interval in intervals] == [3 * 0.125, 0.125, 2 * 0.125]
    # After an evaluation the first step does not take as long as that.
    clock.seconds = 1000.0
    meter.restart()
    meter.add({}, device_step(clock, 1002.0))
    meter.finish()
    assert meter.close().step_seconds == (2.0,)


def test_the_host_holds_on_to_a_few_steps_at_most():
    meter = IntervalMeter(lambda: 0.0, 0)
    for _ in range(10):
        step(meter, 0)
        assert len(meter._in_flight) <= 2


def test_the_clock_stands_while_another_program_is_compiled(clock):
    meter = IntervalMeter(lambda: 0.0, 0, clock)
    for done_at in (1.0, 2.0, 4.0):
        meter.add({}, device_step(clock, done_at))
    with meter.paused():
        assert clock.seconds == 4.0  # the devices have done every step
        clock.seconds += 100
    meter.add({}, device_step(clock, 107.0))
    meter.finish()
    interval = meter.close()
    assert interval.steps == 4
    assert interval.step_seconds == (1.0, 2.0, 3.0)  # without the first
    assert interval.seconds == 6.0
    assert interval.host_seconds == 0.0
