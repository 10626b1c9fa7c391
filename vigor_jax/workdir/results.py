"""What a finished run left in its workdir, whatever it trained: the summary and the logged history."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from vigor_jax.errors import UserError

_TRAIN = "train/"


class ReportError(UserError):
    """A page that cannot be made; names the file and the mend."""


@dataclasses.dataclass(frozen=True)
class Results:
    """A finished run."""

    workdir: Path
    summary: dict[str, Any]  # of summary.json
    history: list[dict[str, Any]]  # the rows of metrics.jsonl, by step

    @property
    def config(self) -> dict[str, Any]:
        """The whole config, as nested dicts."""
        return self.summary["config"]

    @property
    def metrics(self) -> dict[str, float]:
        """`{"<split>/<metric>": value}` of the last step."""
        return self.summary["metrics"]

    @property
    def splits(self) -> list[str]:
        """Names of what was evaluated; what only selects checkpoints comes last."""
        selecting = (self.summary.get("selection_metric") or "").split("/")[0]
        return sorted(dict.fromkeys(name.split("/")[0] for name in self.metrics), key=lambda split: split == selecting)

    @property
    def logged(self) -> list[str]:
        """Names of what training logged, without `train/`."""
        names = dict.fromkeys(key for row in self.history for key in row if key.startswith(_TRAIN))
        return [name.removeprefix(_TRAIN) for name in names]

    def of_split(self, split: str) -> dict[str, float]:
        """`{"<metric>": value}` of one split at the last step."""
        prefix = f"{split}/"
        return {name.removeprefix(prefix): value for name, value in self.metrics.items() if name.startswith(prefix)}

    def trained(self, name: str) -> tuple[list[float], list[float]]:
        """(epochs, values) of one logged figure; an epoch is the step over the steps of an epoch."""
        steps_per_epoch = self.summary["steps"] / self.config["epochs"]
        return self._series(f"{_TRAIN}{name}", lambda row: row["step"] / steps_per_epoch)

    def evaluated(self, metric: str) -> dict[str, tuple[list[float], list[float]]]:
        """For each split that has it: (epochs, values) of one metric at every evaluation."""
        series = {split: self._series(f"{split}/{metric}", lambda row: row["epoch"]) for split in self.splits}
        return {split: found for split, found in series.items() if found[0]}

    def _series(self, key: str, epoch: Any) -> tuple[list[float], list[float]]:
        rows = [row for row in self.history if _is_number(row.get(key))]
        return [float(epoch(row)) for row in rows], [float(row[key]) for row in rows]


def read(workdir: Path) -> Results:
    """Reads a workdir.

    Raises:
      ReportError: it holds no finished run, or one that cannot be read.
    """
    summary_path, history_path = workdir / "summary.json", workdir / "metrics.jsonl"
    if not summary_path.exists():
        there = "an unfinished run, so finish it first" if history_path.exists() else "no run of main.py"
        raise ReportError(f"there is no {summary_path}: {workdir} holds {there}.")
    if not history_path.exists():
        raise ReportError(f"there is no {history_path}, which the curves are drawn from. Copy the whole workdir.")
    try:
        summary = json.loads(summary_path.read_text())
        # What a killed process left of its last line has no newline.
        history = [json.loads(line) for line in history_path.read_text().split("\n")[:-1]]
    except json.JSONDecodeError as error:
        raise ReportError(f"{workdir}: summary.json or metrics.jsonl is damaged: {error}") from error
    for key in ("config", "steps", "metrics", "throughput", "versions"):
        if key not in summary:
            raise ReportError(f"{summary_path} has no {key!r}: it was not written by main.py.")
    return Results(workdir, summary, history)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
