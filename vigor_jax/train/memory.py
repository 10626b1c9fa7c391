"""How much memory a run takes: this host's and that of its devices."""

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
