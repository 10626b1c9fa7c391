"""The result of a run, in one file: `summary.json`."""

import json
import os
from pathlib import Path
from typing import Any

from vigor_jax import config as configs
from vigor_jax.config import Config

FILE_NAME = "summary.json"
# Lies beside a summary whose report is still to be made.
_REPORT_DUE = "report.due"


def write(directory: Path, summary: dict[str, Any]) -> Path:
    """Writes the summary whole or not at all; returns its path. From then on a report is due."""
    path = directory / FILE_NAME
    (directory / _REPORT_DUE).touch()
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("w") as file:
        file.write(json.dumps(summary, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    return path


def finished(directory: Path, config: Config) -> dict[str, Any] | None:
    """The summary of a complete run of exactly this config; None if there is none."""
    path = directory / FILE_NAME
    if not path.exists():
        return None
    summary = json.loads(path.read_text())
    same = summary["config"] == json.loads(json.dumps(configs.to_dict(config)))
    return summary if same else None


def report_is_due(directory: Path) -> bool:
    """Whether the process ended between the summary and the report."""
    return (directory / _REPORT_DUE).exists()


def reported(directory: Path) -> None:
    """Says that the report is made."""
    (directory / _REPORT_DUE).unlink(missing_ok=True)
