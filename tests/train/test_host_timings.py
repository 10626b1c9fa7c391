"""What each of several hosts measured, gathered by two that are processes of this machine."""

import numpy as np
import pytest

from vigor_jax.train.host_timings import figures, slow_reader


def test_the_spread_in_figures():
    #                  interval, waiting, working
    seconds = np.array([[10.0, 0.5, 2.0], [10.0, 4.0, 1.0], [20.0, 2.0, 3.5]])
    found = figures(seconds, 100)
    assert found == pytest.approx(
        {
            "data_wait_share_min": 0.05,
            "data_wait_share_median": 0.1,
            "data_wait_share_max": 0.4,
            "host_ms_min": 10.0,
            "host_ms_median": 20.0,
            "host_ms_max": 35.0,
            "slowest_host": 2,  # 5.5 seconds of its own, if the second's wait is the longest share
        }
    )


@pytest.mark.parametrize(
    ("shares", "slow"),
    [
        ([0.9], None),  # alone
        ([0.02, 0.25], (1, 0.25, 0.02)),
        ([0.5, 0.55, 0.5, 0.6], None),  # all of them starve: no host's fault
        ([0.3, 0.01, 0.02, 0.05], (0, 0.3, 0.02)),
        ([0.3, 0.01, 0.29, 0.28], None),  # its fellows are as slow, and the median says so
        ([0.15, 0.0, 0.0], None),
    ],
)
def test_a_reader_is_slow_beside_the_others(shares, slow):
    seconds = np.array([[4.0, 4.0 * share, 0.1] for share in shares])
    found = slow_reader(seconds)
    assert found == (slow and pytest.approx(slow))


_HOST = """
import sys
import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from vigor_jax.train.host_timings import HostTimings
from vigor_jax.train.log_interval import Interval
from vigor_jax.parallel.mesh import data_mesh

host = jax.process_index()
timings = HostTimings(data_mesh())
for step in range(1, 4):
    interval = Interval(
        last_step=step, steps=1, metric_sums={}, first_nonfinite_step=jnp.int32(-1), step_seconds=(4.0 * step,),
        seconds=4.0 * step, wait_seconds=1.5 * host, device_seconds=0.5,
    )
    found = timings.read(timings.gather(interval))
    expected = [[4.0 * step, 1.5 * other, 4.0 * step - 1.5 * other - 0.5] for other in (0, 1)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
print("gathered")
"""


def test_two_hosts_with_three_devices_each_know_of_each_other(two_hosts):
    for output in two_hosts(_HOST, 3):
        assert "gathered" in output
