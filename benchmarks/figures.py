"""What the benchmarks have in common: one JSON line a figure, and timing side by side."""

import datetime
import functools
import importlib.metadata
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

_PACKAGES = ("jax", "numpy", "opencv-python-headless", "torch")


def emit(figure: str, **values: Any) -> None:
    """Prints a figure with what it was measured on: device, cores, load, versions and date.

    Args:
      figure: its name, "<benchmark>/<what>".
      **values: names that end in a unit (`_s`, `_percent`, `_gib`), to Python numbers, texts, lists or None. By
        convention `limit` is what the hardware allows in the same unit and `peer` what the peer reaches, each None
        where it is not known, with the reason in `limit_is` or `peer_is`.
    """
    print(json.dumps({"figure": figure, **_rounded(values), **_machine()}), flush=True)


def taking_turns(programs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call of each program, which must wait for its own results.

    The programs run one after the other in each round, so that all of them see the same machine; one round before
    that is not counted, for it may compile, allocate, or read what is then in memory.
    """
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for counted in range(-1, rounds):
        for name, program in programs.items():
            begin = time.perf_counter()
            program()
            if counted >= 0:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def spread_percent(seconds: list[float]) -> float:
    """How far the slowest and the fastest lie apart, in percent of the median."""
    return 100 * (max(seconds) - min(seconds)) / statistics.median(seconds)


def median_ratio(slow: list[float], fast: list[float]) -> float:
    """How many times longer one took than the other, the median over the rounds of `taking_turns`."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Five digits say all that a measurement knows."""
    return {name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in values.items()}


@functools.cache
def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _machine() -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "device": f"{jax.device_count()} x {device.platform} {device.device_kind}",
        "host_cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 2),
        "versions": _versions(),
        "date": datetime.date.today().isoformat(),
    }
