"""The result of a run, in one file: `summary.json`."""

import json
import os
from pathlib import Path
from typing import Any

from vigor_jax import config as configs
from vigor_jax.config import Config
from vigor_jax.workdir import checkpoint_files, metrics_log
from vigor_jax.workdir.errors import NoFinishedRun, RunFileError

FILE_NAME = "summary.json"
# Lies beside a summary whose report is still to be made.
_REPORT_DUE = "report.due"
_KEYS = ("config", "steps", "metrics", "throughput", "versions")


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


def read(workdir: Path) -> dict[str, Any]:
    """Reads the summary of a finished run.

    Raises:
      NoFinishedRun: there is none.
      RunFileError: it is damaged, or was not written by a run.
    """
    path = workdir / FILE_NAME
    if not path.exists():
        if (workdir / checkpoint_files.FOLDER).exists() or (workdir / metrics_log.FILE_NAME).exists():
            raise NoFinishedRun(
                f"there is no {path}: {workdir} holds an unfinished run. The command that began it ends it."
            )
        raise NoFinishedRun(
            f"there is no {path}: {workdir} holds no run. Train it first, by main.py with --workdir={workdir}, or name "
            "the workdir of another run."
        )
    try:
        summary = json.loads(path.read_text())
    except ValueError as error:
        raise RunFileError(
            f"{path} is damaged ({error}). Remove it and give the run's command again, which writes it anew."
        ) from error
    missing = [key for key in _KEYS if not isinstance(summary, dict) or key not in summary]
    if missing:
        raise RunFileError(f"{path} has no {missing[0]!r}: it is not the summary of a run.")
    return summary


def finished(directory: Path, config: Config) -> dict[str, Any] | None:
    """The summary of a complete run of exactly this config; None if there is none.

    Raises:
      RunFileError: there is one that cannot be read.
    """
    if not (directory / FILE_NAME).exists():
        return None
    summary = read(directory)
    same = summary["config"] == json.loads(json.dumps(configs.to_dict(config)))
    return summary if same else None


def report_is_due(directory: Path) -> bool:
    """Whether the process ended between the summary and the report."""
    return (directory / _REPORT_DUE).exists()


def reported(directory: Path) -> None:
    """Says that the report is made."""
    (directory / _REPORT_DUE).unlink(missing_ok=True)
