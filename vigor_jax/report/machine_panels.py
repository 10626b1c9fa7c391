"""What training logs of the machine it runs on: which figures share a plot, what they are called and in what unit."""

import dataclasses
from collections.abc import Sequence

from vigor_jax.report import wording


@dataclasses.dataclass(frozen=True)
class Panel:
    """One plot of logged figures."""

    title: str
    labels: dict[str, str]  # of each logged figure, by its name without `train/`; in the order of the legend
    unit: str = ""  # behind a value
    scale: float = 1.0  # of the logged figure to its unit
    note: str = ""  # below the plot
    from_zero: bool = True  # whether the axis begins there


_PANELS = (
    Panel("Examples a second", {"examples_per_s": "All devices"}, " /s"),
    Panel(
        "Time of a step",
        {"step_ms": "Mean", "step_ms_p50": "Median", "step_ms_p95": "95th percentile"},
        " ms",
        note="From one finished step to the next, within a log interval. A mean well above the median says that some "
        "steps stood still.",
    ),
    Panel("Longest step of an interval", {"step_ms_max": "Longest"}, " ms"),
    Panel(
        "Time spent waiting for data",
        {
            "data_wait_share": "First host",
            "data_wait_share_min": "Least of all hosts",
            "data_wait_share_median": "Median of the hosts",
            "data_wait_share_max": "Most of all hosts",
        },
        " %",
        scale=100.0,
    ),
    Panel(
        "Work of the host itself in a step",
        {
            "host_ms_min": "Least of all hosts",
            "host_ms_median": "Median of the hosts",
            "host_ms_max": "Most of all hosts",
        },
        " ms",
        note="Time in which a host waited neither for data nor for devices.",
    ),
    Panel("Slowest host", {"slowest_host": "Number of the host"}),
    Panel("Memory of the host", {"host_memory_gib": "Now", "host_memory_peak_gib": "Most so far"}, " GiB"),
    Panel(
        "Memory of the fullest device",
        {
            "device_memory_gib": "Now",
            "device_memory_peak_gib": "Most so far",
            "device_memory_limit_gib": "What there is",
        },
        " GiB",
    ),
)


def panels(logged: Sequence[str]) -> list[Panel]:
    """A panel for every figure, in the order in which they were logged; what is not of the machine has its own."""
    found: list[Panel] = []
    for name in logged:
        if any(name in panel.labels for panel in found):
            continue
        shared = next((panel for panel in _PANELS if name in panel.labels), None)
        if shared is None:
            found.append(Panel(wording.plain(name), {name: wording.plain(name)}, from_zero=False))
        else:
            labels = {each: label for each, label in shared.labels.items() if each in logged}
            found.append(dataclasses.replace(shared, labels=labels))
    return found
