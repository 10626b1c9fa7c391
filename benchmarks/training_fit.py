"""How well a trained model finds the panoramas that it was trained on, beside held-out ones of the same cities.

    python benchmarks/training_fit.py RUN [RUN ...]

RUN is the workdir of a finished run of main.py with the same-area protocol. Both kinds of query are searched in the
same gallery, every tile of the cities that the protocol tests. Prints one JSON line a run.

Where trained panoramas are nearly always found, no loss and no choice of negatives can teach the model more about them:
what is missing is data, resolution or regularisation. Where they are not, it was trained too little.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vigor_jax import console, tasks
from vigor_jax.datasets.protocol import EvaluationSplit
from vigor_jax.errors import UserError
from vigor_jax.parallel.mesh import data_mesh, replicated
from vigor_jax.tasks.cross_view import pairs
from vigor_jax.tasks.cross_view.config import CrossViewConfig
from vigor_jax.tasks.cross_view.evaluation import Evaluation
from vigor_jax.tasks.cross_view.model import cross_view_model, offset_of
from vigor_jax.tasks.cross_view.towers import read_weights
from vigor_jax.workdir import finished_run

_METRICS = ("top1", "top5", "hit_rate", "queries", "gallery", "found_median_m", "centre_found_median_m")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    args = parser.parse_args()
    console.set_up()
    try:
        for run in args.runs:
            print(json.dumps({"run": run.name, **_measure(run)}), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _measure(run: Path) -> dict[str, float]:
    finished = finished_run.read(run, tasks.parse_stored)
    evaluation = _on_trained_panoramas(finished.config, finished.resolved)
    mesh = data_mesh()
    metrics = evaluation(jax.device_put(finished.variables, replicated(mesh)), mesh).metrics
    wanted = [f"{split}/{metric}" for split in ("training", "same_area") for metric in _METRICS]
    return {name: round(metrics[name], 4) for name in wanted if name in metrics}


def _on_trained_panoramas(config: CrossViewConfig, resolved: dict[str, Any]) -> Evaluation:
    """The evaluation of a run with a split of what it trains on."""
    data, splits = pairs.load(
        dataclasses.replace(config, data=dataclasses.replace(config.data, protocols=("same_area",)))
    )
    held_out, references = splits.evaluations["same_area"], data.panoramas.references
    trained = splits.train[np.isin(references[splits.train, 0], held_out.tiles)]
    fit = EvaluationSplit(
        trained, held_out.tiles, np.searchsorted(held_out.tiles, references[trained]).astype(np.int32)
    )
    model = cross_view_model(config.model, read_weights(config.model, resolved.get("preprocessing"))[1])
    return Evaluation.of(config, model, data, {"training": fit, "same_area": held_out}, offset=offset_of(config.model))


if __name__ == "__main__":
    sys.exit(main())
