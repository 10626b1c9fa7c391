"""How far apart several hosts are in one interval: who waits for data, and for whom the others wait."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float

from vigor_jax.parallel.mesh import AXIS, replicated
from vigor_jax.train.log_interval import Interval

# By how much of the time one host must wait for data longer than the others do (their median) to be called slow: the
# others stand still meanwhile, so the run loses about that much.
_SLOW_READER = 0.2


class HostTimings:
    """Gathers what each host measured, on the devices, behind the steps they are still busy with: nobody waits."""

    def __init__(self, mesh: Mesh):
        """Compiles the gathering; called by all hosts.

        Args:
          mesh: of all hosts' devices.
        """
        owners = [device.process_index for device in mesh.devices.flat]
        self._hosts = sorted(set(owners))
        self._rows = [owners.index(host) for host in self._hosts]
        self._local_devices = owners.count(jax.process_index())
        self._sharding = NamedSharding(mesh, PartitionSpec(AXIS))
        measured = jax.ShapeDtypeStruct((mesh.size, 3), np.float32, sharding=self._sharding)
        # Now, for the first interval shall not be measured while it compiles.
        self._everywhere = jax.jit(lambda rows: rows, out_shardings=replicated(mesh)).lower(measured).compile()

    def gather(self, interval: Interval) -> jax.Array:
        """Hands this host's figures to the devices; called by all hosts after the same step.

        Returns:
          What `read` takes; the devices have it once they have done the steps before.
        """
        mine = (interval.seconds, interval.wait_seconds, interval.host_seconds)
        rows = np.tile(np.float32(mine), (self._local_devices, 1))
        return self._everywhere(jax.make_array_from_process_local_data(self._sharding, rows))

    def read(self, gathered: jax.Array) -> Float[np.ndarray, "hosts 3"]:
        """Seconds of each host: of the interval, waiting for data, and at work itself. Waits for the devices."""
        return np.asarray(gathered, np.float64)[self._rows]


def figures(seconds: Float[np.ndarray, "hosts 3"], steps: int) -> dict[str, float]:
    """The spread in figures.

    Args:
      seconds: of `HostTimings.read`.
      steps: in the interval.

    Returns:
      `data_wait_share_min`, `_median`, `_max`, and likewise `host_ms_...`: milliseconds of a step that the host itself
      works, waiting neither for data nor for devices. `slowest_host` is the one with the most of both together: as
      all hosts take each step together, the others wait for it.
    """
    whole, waiting, working = seconds.T
    spread = _spread("data_wait_share", waiting / whole) | _spread("host_ms", 1000 * working / steps)
    return spread | {"slowest_host": int(np.argmax(waiting + working))}


def slow_reader(seconds: Float[np.ndarray, "hosts 3"]) -> tuple[int, float, float] | None:
    """The host that waits for data far longer than the others, if there is one.

    Args:
      seconds: of `HostTimings.read`.

    Returns:
      (host, its share of the time spent waiting for data, median of the others' shares).
    """
    if len(seconds) < 2:
        return None
    shares = seconds[:, 1] / seconds[:, 0]
    host = int(np.argmax(shares))
    others = float(np.median(np.delete(shares, host)))
    return (host, float(shares[host]), others) if shares[host] - others >= _SLOW_READER else None


def _spread(name: str, values: np.ndarray) -> dict[str, float]:
    return {
        f"{name}_min": float(values.min()),
        f"{name}_median": float(np.median(values)),
        f"{name}_max": float(values.max()),
    }
