"""The final metrics, a table a split, each with what it must be compared with in the same row."""

import dataclasses

from vigor_jax.report import wording


@dataclasses.dataclass(frozen=True)
class Table:
    """Headings and rows of text; the first cell of a row is its heading."""

    columns: list[str]
    rows: list[list[str]]


@dataclasses.dataclass(frozen=True)
class SplitTables:
    """One split's."""

    name: str
    sizes: list[str]  # "102 queries", "gallery of 512 tiles"
    tables: list[Table]


def of_split(split: str, metrics: dict[str, float]) -> SplitTables:
    """The tables of one split: results of retrieval, then those in metres, as far as there are any.

    Args:
      split: its name.
      metrics: `{"<metric>": value}`; one with the prefix of a baseline stands beside the metric it names.
    """
    results = [name for name in metrics if not wording.is_count(name) and not _is_baseline(name, metrics)]
    sizes = [f"{wording.value(name, metrics[name])} {unit}" for name, unit in _SIZES.items() if name in metrics]
    tables = []
    for position in (False, True):
        names = [name for name in results if wording.is_position(name) == position]
        if names:
            tables.append(_table(names, metrics))
    return SplitTables(wording.plain(split), sizes, tables)


_SIZES = {"queries": "queries", "gallery": "in the gallery", "images": "images"}


def baselines(metric: str, metrics: dict[str, float]) -> dict[str, float]:
    """`{"chance": value, ...}` of the baselines that were measured for one metric."""
    found = {}
    for baseline, prefixes in wording.BASELINES.items():
        values = [metrics[prefix + metric] for prefix in prefixes if prefix + metric in metrics]
        if values:
            found[baseline] = min(values) if wording.is_distance(metric) else max(values)
    return found


def _is_baseline(name: str, metrics: dict[str, float]) -> bool:
    prefixes = (prefix for group in wording.BASELINES.values() for prefix in group)
    return any(name.startswith(prefix) and name.removeprefix(prefix) in metrics for prefix in prefixes)


def _table(names: list[str], metrics: dict[str, float]) -> Table:
    compared = {name: baselines(name, metrics) for name in names}
    columns = [column for column in wording.BASELINES if any(column in found for found in compared.values())]
    rows = []
    for name in names:
        beside = [
            wording.value(name, compared[name][column], decimals=2 if column == "chance" else 1)
            if column in compared[name]
            else ""
            for column in columns
        ]
        rows.append([wording.metric(name), wording.value(name, metrics[name]), *beside])
    return Table(["", "this run", *columns], rows)
