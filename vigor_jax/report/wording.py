"""How names and values read on the page."""

import re

_METRICS = {
    "top1": "Top-1",
    "top5": "Top-5",
    "top10": "Top-10",
    "top1_percent": "Top-1%",
    "hit_rate": "Hit rate (published code)",
    "hit_rate_covered": "Hit rate (paper's wording)",
    "median_m": "Median error",
    "mean_m": "Mean error",
    "median_km": "Median error",
    "mean_km": "Mean error",
    "queries": "Queries",
    "gallery": "Gallery",
    "images": "Images",
    "mean_class_top1": "Top-1, mean of the classes",
}
SPACE = "\N{NO-BREAK SPACE}"  # before a unit
_COUNTS = ("queries", "gallery", "images")
_PLAIN_NUMBERS = ("distance", "cosine")  # between unit vectors

# What a metric is compared with: the metrics of these prefixes, of which the best counts.
BASELINES = {
    "chance": ("chance_",),
    "most frequent": ("most_frequent_",),
    "constant": ("constant_",),
    "pixels": ("pixel_neighbour_", "pixel_"),
    "colour": ("mean_colour_", "colour_histogram_"),
    "tile centre": ("centre_",),
    "teacher": ("teacher_",),
}


def is_count(metric: str) -> bool:
    """Whether a metric is a size rather than a result."""
    return metric in _COUNTS


def is_distance(metric: str) -> bool:
    """Whether a metric is in metres or kilometres."""
    return metric.endswith(("_m", "_km"))


def is_share(metric: str) -> bool:
    """Whether a metric is drawn in percent: all but sizes, distances on the ground, and those between embeddings."""
    return not (is_count(metric) or is_distance(metric) or metric.split("_")[-1] in _PLAIN_NUMBERS)


def is_position(metric: str) -> bool:
    """Whether a metric says how far off queries are placed: a distance, or the share within one."""
    return is_distance(metric) or re.search(r"within_\d+k?m$", metric) is not None


def unit(metric: str) -> str:
    """What stands behind a number that is drawn: of shares percent, of plain numbers nothing."""
    if not is_distance(metric):
        return f"{SPACE}%" if is_share(metric) else ""
    return f"{SPACE}km" if metric.endswith("_km") else f"{SPACE}m"


def plain(name: str) -> str:
    """A name of the code in words: same_area -> Same area."""
    words = name.replace("_", " ").replace("iou", "IOU").strip()
    return words[:1].upper() + words[1:]


def metric(name: str) -> str:
    """A metric's name in words."""
    if name in _METRICS:
        return _METRICS[name]
    within = re.fullmatch(r"within_(\d+)(k?m)", name)
    if within:
        return f"Within {int(within[1]):,} {within[2]}"
    for baseline, prefixes in BASELINES.items():
        for prefix in prefixes:
            if name.startswith(prefix):
                return f"{metric(name.removeprefix(prefix))}, {baseline}"
    # One of these in other circumstances: its name with something before it.
    rest = re.search(rf"(?<=_)({'|'.join(_METRICS)}|within_\d+k?m)$", name)
    return f"{plain(name[: rest.start()])}: {metric(rest[0]).lower()}" if rest else plain(name)


def value(metric: str, number: float | int, decimals: int = 1) -> str:
    """A metric's value with its unit; `decimals` of percent."""
    if is_count(metric):
        return f"{number:,.0f}"
    if is_distance(metric):
        return metres(1000 * number if metric.endswith("_km") else number)
    if not is_share(metric):
        return f"{number:.3f}"
    # What is no share, a score of another kind, is shown as it is.
    return percent(number, decimals) if 0 <= number <= 1 else f"{number:.4g}"


def percent(share: float, decimals: int = 1) -> str:
    """A share in percent."""
    return f"{100 * share:.{decimals}f}{SPACE}%"


def metres(distance: float | int) -> str:
    """A distance with as many digits as matter: 3.2 m, 57 m, 1.4 km, 1,203 km."""
    if distance < 9.95:
        return f"{distance:.1f}{SPACE}m"
    if distance < 999.5:
        return f"{distance:.0f}{SPACE}m"
    return f"{distance / 1000:.1f}{SPACE}km" if distance < 99_950 else f"{distance / 1000:,.0f}{SPACE}km"


def position(lat: float, lon: float) -> str:
    """Degrees to some ten metres: 48.1374° N, 11.5755° E."""
    return f"{abs(lat):.4f}° {'N' if lat >= 0 else 'S'}, {abs(lon):.4f}° {'E' if lon >= 0 else 'W'}"
