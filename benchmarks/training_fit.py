"""How well a trained model finds the panoramas that it was trained on, beside held-out ones of the same cities.

    python benchmarks/training_fit.py RUN [RUN ...]

RUN is the workdir of a finished run of main.py with the same-area protocol. Both kinds of query are searched in the
same gallery, every tile of the cities that the protocol tests. Prints one JSON line a run.

Where trained panoramas are nearly always found, no loss and no choice of negatives can teach the model more about them:
what is missing is data, resolution or regularisation. Where they are not, it was trained too little.
"""

import argparse
import json
import sys
from pathlib import Path

import jax
import numpy as np

from vigor_jax import console, tasks
from vigor_jax.config import Config
from vigor_jax.datasets import protocol
from vigor_jax.datasets.protocol import EvaluationSplit
from vigor_jax.errors import UserError
from vigor_jax.models.variables import Variables
from vigor_jax.parallel.mesh import data_mesh, replicated
from vigor_jax.tasks.cross_view.evaluation import Evaluation
from vigor_jax.tasks.cross_view.model import offset_of
from vigor_jax.tasks.cross_view.task import CrossView
from vigor_jax.tasks.task import Evaluated
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
    task = _OnTrainedPanoramas(finished.config)
    mesh = data_mesh()
    metrics = task.measure(jax.device_put(finished.variables, replicated(mesh)), mesh).metrics
    wanted = [f"{split}/{metric}" for split in ("training", "same_area") for metric in _METRICS]
    return {name: round(metrics[name], 4) for name in wanted if name in metrics}


class _OnTrainedPanoramas(CrossView):
    """The task with a split of what it trains on."""

    def __init__(self, config: Config):
        super().__init__(config)
        splits = protocol.split(
            self._data,
            train_cities=config.data.train_cities,
            test_cities=config.data.test_cities,
            protocols=("same_area",),
            same_area_cities=config.data.same_area_cities,
            validation_fraction=config.data.validation_fraction,
        )
        held_out = splits.evaluations["same_area"]
        panoramas = self._data.panoramas
        trained = self._train[np.isin(panoramas.references[self._train, 0], held_out.tiles)]
        references = np.searchsorted(held_out.tiles, panoramas.references[trained]).astype(np.int32)
        self._fit = Evaluation(
            self._model,
            self._data,
            {"training": EvaluationSplit(trained, held_out.tiles, references), "same_area": held_out},
            batch_size=config.eval_batch_size,
            threads=config.input_threads,
            offset=offset_of(config.model),
            symmetries=config.eval_symmetries,
            seed=config.seed,
        )

    def measure(self, variables: Variables, mesh: jax.sharding.Mesh) -> Evaluated:
        """Both splits."""
        return self._fit(variables, mesh)


if __name__ == "__main__":
    sys.exit(main())
