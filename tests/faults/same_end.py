"""Whether a run that was broken ended as the one that was not: bit for bit, in all that it leaves."""

import json
import math
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from tests.faults.outcome import Lost
from tests.faults.trainer import rows

# Beginnings of what metrics.jsonl says of the machine rather than of the run.
_MEASURED = ("train/examples_per_s", "train/step_ms", "train/data_wait", "train/host", "train/device", "train/slowest")
_ROUNDING = 1e-6  # of means in float32
_reading = threading.Lock()


def require(workdir: Path, unbroken: Path, *, stops: int = 0) -> None:
    """Compares two finished runs, the first of which was stopped by so many signals.

    Parameters, optimiser state, random key, mining pool and mined table of the last checkpoint; which checkpoints are
    kept; the evaluations and every logged figure that is not of the machine; what was found for each query.

    Raises:
      Lost: something differs or is missing.
    """
    for name in ("summary.json", "report.html", "findings.npz"):
        if not (workdir / name).exists():
            raise Lost(f"{name} is missing")
    ours, theirs = (json.loads((each / "summary.json").read_text()) for each in (workdir, unbroken))
    for key in ("steps", "metrics", "best"):
        if ours[key] != theirs[key]:
            raise Lost(f"{key} of the summary: {ours[key]} instead of {theirs[key]}")
    require_same_history(history(workdir), history(unbroken), stops)
    _require_same_arrays(_findings(workdir), _findings(unbroken), "findings")
    kept, wanted = steps(workdir), steps(unbroken)
    if kept != wanted:
        raise Lost(f"checkpoints of steps {kept} are kept instead of {wanted}")
    if (workdir / "checkpoints_interrupted").exists():
        raise Lost("the checkpoint of a stop is still there")
    _require_same_arrays(arrays(workdir, kept[-1]), arrays(unbroken, kept[-1]), "checkpoint")


def history(workdir: Path) -> list[dict[str, Any]]:
    """Every row without what is measured of the machine."""
    kept = [{name: value for name, value in row.items() if not name.startswith(_MEASURED)} for row in rows(workdir)]
    return kept


def require_same_history(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], stops: int) -> None:
    """Compares row by row; a stop may have divided a row into two, whose mean must be it.

    Raises:
      Lost: with the first row that differs.
    """
    if len(ours) > len(theirs) + stops:
        raise Lost(f"the history has {len(ours)} rows instead of {len(theirs)}, after {stops} stops")
    at = [(row["step"], "epoch" in row) for row in ours]
    if at != sorted(set(at)):
        raise Lost(f"the history has rows twice or out of order: of {[step for step, _ in at]}")
    done = 0
    for other in theirs:
        rest = [row for row in ours if row["step"] <= other["step"] and ("epoch" in row) == ("epoch" in other)]
        mine = _joined(rest, done)
        for name in {**mine, **other}:
            a, b = mine.get(name), other.get(name)
            exact = len(rest) < 2 or None in (a, b)
            if not (a == b if exact else math.isclose(a, b, rel_tol=_ROUNDING)):
                raise Lost(f"the history of step {other['step']} has {name} {a} instead of {b}")
        ours = [row for row in ours if row not in rest]
        done = other["step"]
    if ours:
        raise Lost(f"the history has rows after the last step: of {[row['step'] for row in ours]}")


def _joined(parts: list[dict[str, Any]], done: int) -> dict[str, Any]:
    """The row of all steps since `done` from those of parts of them."""
    if len(parts) < 2:
        return parts[0] if parts else {}
    begins = [done, *(row["step"] for row in parts)]
    weights = np.diff(begins)
    joined = {name: float(np.average([row[name] for row in parts], weights=weights)) for name in parts[-1]}
    return joined | {"step": parts[-1]["step"]}


def steps(workdir: Path) -> list[int]:
    """Of the regular checkpoints, ascending."""
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())


def arrays(workdir: Path, step: int) -> dict[str, np.ndarray]:
    """All arrays of a regular checkpoint, read by Orbax alone."""
    found = {}
    with _reading, ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        for item in ("state", "plan"):
            path = workdir / "checkpoints" / str(step) / item
            plain = jax.tree.map(
                lambda _: ocp.RestoreArgs(restore_type=np.ndarray), reader.metadata(path).item_metadata.tree
            )
            tree = reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=plain))
            for place, leaf in jax.tree_util.tree_leaves_with_path(tree):
                found[f"{item}/{jax.tree_util.keystr(place, simple=True, separator='/')}"] = np.asarray(leaf)
    return found


def _findings(workdir: Path) -> dict[str, np.ndarray]:
    with np.load(workdir / "findings.npz") as archive:
        return dict(archive)


def _require_same_arrays(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], where: str) -> None:
    if ours.keys() != theirs.keys():
        raise Lost(f"the {where} has other arrays: {sorted(ours.keys() ^ theirs.keys())}")
    for name, mine in ours.items():
        other = theirs[name]
        if (mine.dtype, mine.shape, mine.tobytes()) != (other.dtype, other.shape, other.tobytes()):
            raise Lost(f"the {where} has other bits in {name}")
