"""How much memory a run takes, this host's and that of its devices, and how much there is."""

import dataclasses
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

_GIB = 1 << 30
_STATUS = Path("/proc/self/status")  # Linux has it
_HOST = {"VmRSS": "host_memory_gib", "VmHWM": "host_memory_peak_gib"}
_DEVICE = {
    "bytes_in_use": "device_memory_gib",
    "peak_bytes_in_use": "device_memory_peak_gib",
    "bytes_limit": "device_memory_limit_gib",
}
# What a container may use, in bytes, where it is bounded: by control groups of version 2 and 1.
_CONTAINER = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclasses.dataclass(frozen=True)
class Limit:
    """How much memory each device has.

    Attributes:
      bytes: of the device that has the least.
      is_shared: they have none of their own and share the host's, with everything else that runs there.
    """

    bytes: int
    is_shared: bool

    def __str__(self) -> str:
        return readable(self.bytes) + (" (its share of this host's)" if self.is_shared else "")


def limit(devices: Sequence[jax.Device] | None = None) -> Limit | None:
    """What each device may take; None where the backend does not say.

    Args:
      devices: of this host; default: all of them.
    """
    devices = jax.local_devices() if devices is None else devices
    if any(device.platform == "cpu" for device in devices):
        return Limit(_host_bytes() // len(devices), is_shared=True)
    known = [statistics["bytes_limit"] for statistics in map(_statistics, devices) if "bytes_limit" in statistics]
    return Limit(min(known), is_shared=False) if known else None


def readable(size: int) -> str:
    """Of bytes: `312 MiB` or `12.3 GiB`."""
    return f"{size / (1 << 20):.0f} MiB" if size < 1000 << 20 else f"{size / _GIB:.1f} GiB"


def measure(devices: Sequence[jax.Device] | None = None) -> dict[str, float]:
    """What can be known, in GiB; what the system or the backend does not say is left out.

    `host_memory_gib` is what this process has resident, `host_memory_peak_gib` its most so far. `device_memory_gib`,
    `..._peak_gib` and `..._limit_gib` are each the largest among the devices: in use, the most so far, and how much
    there is. A CPU device has no memory of its own: what it uses is in the host's.

    Args:
      devices: of this host; default: all of them.
    """
    return _of_host() | _of_devices(jax.local_devices() if devices is None else devices)


def _of_host() -> dict[str, float]:
    found = _in_status(_STATUS.read_text()) if _STATUS.exists() else {}
    if "host_memory_peak_gib" not in found:  # macOS, and sandboxes whose /proc says little
        unit = 1 if sys.platform == "darwin" else 1 << 10
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        found["host_memory_peak_gib"] = peak / _GIB
    return found


def _host_bytes() -> int:
    """Of the machine, or of the container that this process is in."""
    bounds = [path.read_text().strip() for path in _CONTAINER if path.exists()]
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *(int(bound) for bound in bounds if bound.isdigit())])


def _in_status(text: str) -> dict[str, float]:
    """Of the lines `VmRSS: <kibibytes> kB` and `VmHWM: ...`."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name: int(fields[field].split()[0]) * 1024 / _GIB for field, name in _HOST.items() if field in fields}


def _of_devices(devices: Sequence[jax.Device]) -> dict[str, float]:
    statistics = [_statistics(device) for device in devices]
    found = {}
    for key, name in _DEVICE.items():
        values = [each[key] for each in statistics if key in each]
        if values:
            found[name] = max(values) / _GIB
    return found


def _statistics(device: jax.Device) -> dict[str, int]:
    try:
        return device.memory_stats() or {}
    except jax.errors.JaxRuntimeError as error:
        if "UNIMPLEMENTED" in str(error):  # as some backends say that they do not know
            return {}
        raise
