"""What a finished run left in its workdir, whatever it trained: the summary and the logged history."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from vigor_jax.workdir import metrics_log
from vigor_jax.workdir import summary as summaries
from vigor_jax.workdir.errors import RunFileError

_TRAIN = "train/"


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
      NoFinishedRun: it holds none.
      RunFileError: a file is missing or damaged.
    """
    summary = summaries.read(workdir)
    path = workdir / metrics_log.FILE_NAME
    if not path.exists():
        raise RunFileError(f"there is no {path}, which the curves are drawn from. Copy the whole workdir.")
    return Results(workdir, summary, metrics_log.read(path))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
