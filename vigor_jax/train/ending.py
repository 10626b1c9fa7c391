"""The end of a run: its last checkpoint, its summary, its report."""

from pathlib import Path
from typing import Any

import jax
from absl import logging

from vigor_jax.tasks.task import Task
from vigor_jax.train import memory
from vigor_jax.train.run import Run
from vigor_jax.workdir import summary


def finish(run: Run, metrics: dict[str, float] | None, throughput: dict[str, Any]) -> dict[str, Any]:
    """Waits for the checkpoint under way and, on the first host, writes the summary and the report.

    Args:
      run: all of whose steps are done.
      metrics: of its last evaluation.
      throughput: of this start (`TrainingLog.throughput`).

    Returns:
      What `summary.json` holds.
    """
    run.signals.ending()
    run.watch.alive("waiting for the last checkpoint to be written")
    run.checkpoints.wait()
    best = run.checkpoints.best()
    best_metrics = None if best is None else run.checkpoints.metrics(best)
    devices = {
        "devices": run.mesh.size,
        "device_kind": run.mesh.devices.flat[0].device_kind,
        "hosts": jax.process_count(),
    }
    result = {
        "config": run.record["config"],
        "steps": run.total_steps,
        "metrics": metrics,
        "selection_metric": run.task.selection_metric,
        "best": {"step": best, "metrics": best_metrics},
        "throughput": throughput | devices,
        "memory": memory.measure(),
        "versions": run.record["versions"],
    }
    run.watch.alive("writing the summary and the report")
    if run.is_first_host:
        logging.info("Summary: %s", summary.write(run.workdir, result))
        report(run.task, run.workdir)
    return result


def report(task: Task, workdir: Path) -> None:
    """Makes the report of a run that has its summary."""
    page = task.report(workdir)
    summary.reported(workdir)
    if page is not None:
        logging.info("Report: %s", page)
