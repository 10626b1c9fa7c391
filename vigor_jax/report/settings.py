"""What the run was told and what it ran on, as tables."""

from typing import Any

from vigor_jax.report.metrics_table import Table
from vigor_jax.workdir.results import Results


def of_config(run: Results) -> list[tuple[str, Table]]:
    """(group, table) of every config value: the values at the top first, then group by group."""
    top = {key: value for key, value in run.config.items() if not isinstance(value, dict)}
    groups = {"run": top} | {key: value for key, value in run.config.items() if isinstance(value, dict)}
    return [(group, _table(values)) for group, values in groups.items()]


def of_machine(run: Results) -> list[tuple[str, Table]]:
    """(group, table) of the speed and the memory that were measured and of the versions that were used."""
    measured = {
        group: {key: _measured(value) for key, value in run.summary[group].items()}
        for group in ("throughput", "memory")
        if group in run.summary  # runs of earlier versions measured no memory
    }
    return [(group, _table(values)) for group, values in (measured | {"versions": run.summary["versions"]}).items()]


def _table(values: dict[str, Any]) -> Table:
    return Table(["", "value"], [[key, _text(value)] for key, value in values.items()])


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return "none" if value in ("", None) else str(value)


def _measured(value: Any) -> Any:
    if value is None:
        return "not measured"
    return f"{value:,.4g}" if isinstance(value, float) else value
