import math
from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax.train import memory
from vigor_jax.train.host_timings import HostTimings
from vigor_jax.train.log_interval import Interval
from vigor_jax.train.progress import Progress
from vigor_jax.train.training_log import NonFiniteStep, TrainingLog
from vigor_jax.workdir.metrics_log import MetricWriter


def interval(last_step, step_seconds, *, steps=None, loss=1.0, first_nonfinite_step=-1):
    steps = len(step_seconds) if steps is None else steps
    return Interval(
        last_step=last_step,
        steps=steps,
        metric_sums={"loss": jnp.float32(steps * loss)},
        first_nonfinite_step=jnp.int32(first_nonfinite_step),
        step_seconds=tuple(step_seconds),
        seconds=math.fsum(step_seconds),
        wait_seconds=sum(step_seconds) / 4,
        device_seconds=sum(step_seconds) / 2,
    )


@pytest.fixture
def make_log(toy_task, monkeypatch):
    """`(timings=None) -> (log, written)`: a training log of batches of 8, and the rows it wrote by step."""
    monkeypatch.setattr(memory, "measure", lambda: {"host_memory_gib": 1.5})

    def make(timings=None):
        written = {}
        writer = mock.Mock(spec=MetricWriter, write=lambda step, values: written.update({step: values}))
        return TrainingLog(toy_task(), 8, 1000, Progress(1000, 0, show=False), writer, timings), written

    return make


def test_percentiles_of_an_interval_and_of_the_start(make_log):
    log, written = make_log()
    log.put(interval(1, [], steps=1))  # compiled
    first, second = np.linspace(0.1, 0.3, 21), np.full(19, 0.2)
    first[7] = 4.0  # one that hung
    log.put(interval(22, first.tolist()))
    log.put(interval(41, second.tolist()))
    log.flush()
    assert written[1] == {"train/loss": 1.0, "train/host_memory_gib": 1.5}
    assert written[22] == pytest.approx(
        {
            "train/loss": 1.0,
            "train/examples_per_s": 8 * 21 / first.sum(),
            "train/step_ms": 1000 * first.mean(),
            "train/step_ms_p50": 1000 * sorted(first)[10],
            "train/step_ms_p95": 1000 * sorted(first)[19],
            "train/step_ms_max": 4000,
            "train/data_wait_share": 0.25,
            "train/host_memory_gib": 1.5,
        }
    )
    assert written[41]["train/step_ms_p95"] == pytest.approx(200)
    throughput = log.throughput()
    assert throughput["timed_steps"] == 40
    together = np.concatenate([first, second])
    for name, expected in (("p50", np.median(together)), ("p95", np.percentile(together, 95)), ("max", 4)):
        assert throughput[f"step_ms_{name}"] == pytest.approx(1000 * expected)


def test_nothing_measured_is_none_not_zero(make_log):
    log, _ = make_log()
    throughput = log.throughput()
    assert throughput.pop("timed_steps") == 0
    assert set(throughput.values()) == {None}
    assert {"step_ms", "step_ms_p50", "step_ms_p95", "step_ms_max"} < set(throughput)


def test_hosts_are_compared_and_a_slow_one_is_named_once(make_log, caplog):
    #       of each host: interval, waiting, working
    even = [[10.0, 0.1, 1.0], [10.0, 0.2, 1.0], [10.0, 0.0, 1.0]]
    third_is_slow = [[10.0, 0.1, 1.0], [10.0, 0.2, 1.0], [10.0, 6.2, 1.0]]
    first_is_slow = [[10.0, 7.0, 1.0], [10.0, 0.2, 1.0], [10.0, 0.0, 1.0]]
    measured = [even, third_is_slow, third_is_slow, first_is_slow, even]
    gathered = mock.Mock(spec=type(jnp.zeros(())), is_ready=lambda: False)
    timings = mock.Mock(spec=HostTimings, gather=mock.Mock(return_value=gathered))
    timings.read.side_effect = [np.array(seconds) for seconds in measured]
    log, written = make_log(timings)
    with caplog.at_level("WARNING"):
        log.put(interval(1, [], steps=1))
        assert timings.gather.call_count == 0  # nothing was timed on any host
        for k in range(5):
            log.put(interval(11 + 10 * k, [1.0] * 10))
            log.poll()  # not all hosts have sent theirs: it does not wait
            assert timings.read.call_count == k
        log.flush()
    assert [message[: message.index(" (median)")] for message in caplog.messages] == [
        "Host 2 waited for data in 62 % of the time of steps 12 to 21, the others in 2 %",
        "Host 0 waited for data in 70 % of the time of steps 32 to 41, the others in 1 %",
    ]
    assert "train/slowest_host" not in written[1]
    assert [written[step]["train/slowest_host"] for step in (11, 21, 31, 41, 51)] == [1, 2, 2, 0, 1]
    assert written[21]["train/data_wait_share_max"] == pytest.approx(0.62)
    assert written[21]["train/host_ms_median"] == pytest.approx(100)


def test_a_nonfinite_interval_is_not_written(make_log):
    log, written = make_log()
    log.put(interval(2, [0.1, 0.1]))
    log.put(interval(4, [0.1, 0.1], first_nonfinite_step=3))
    with pytest.raises(NonFiniteStep) as error:
        log.poll()
    assert error.value.step == 3
    assert list(written) == [2]
