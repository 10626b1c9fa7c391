"""Evaluates a finished run again, from its workdir: no training, no raw training data, no weight file.

    vigor-jax evaluate runs/cross_area
    vigor-jax evaluate runs/cross_area --splits=cross_area --checkpoint=best --json=metrics.json
    vigor-jax evaluate runs/cross_area --splits=cross_area --root=/path/to/other --config.data.test_cities="('Delft',)"
    vigor-jax evaluate runs/vgg16 --config.classifier.test_protocol=dense --config.classifier.test_scales="(256,384)"

Any --config.KEY=VALUE that leaves the model as it is may follow: what is tested (config.data, config.images), and how
(config.eval_symmetries, config.classifier.test_protocol, ...). The workdir stays as it is.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vigor_jax.commands import flags
from vigor_jax.commands.arguments import Parser

if TYPE_CHECKING:
    from vigor_jax.studies.evaluation import RunEvaluation


def main(program: str, arguments: Sequence[str]) -> int:
    """Prints the table that training prints."""
    parser = Parser(program, __doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="workdir of a finished run")
    parser.add_argument("--splits", metavar="A,B", default="", help="which to evaluate (default: all that the run has)")
    parser.add_argument(
        "--checkpoint", metavar="WHICH", default="last", help="last, best, or the step of one that was kept"
    )
    parser.add_argument("--root", metavar="DIR", help="raw data to prepare and test on, in place of the run's")
    parser.add_argument("--data_dir", metavar="DIR", help="where prepared data lies, or is written to")
    parser.add_json("the config, the step and all metrics")
    own, changes = flags.without_config(arguments)
    options = parser.parse_args(own)
    flags.require_keys(changes)

    from vigor_jax import compilation_cache, tasks
    from vigor_jax.parallel.mesh import data_mesh
    from vigor_jax.studies.evaluation import evaluate
    from vigor_jax.train.evaluator import EpochTable
    from vigor_jax.workdir import finished_run

    compilation_cache.keep()
    run = finished_run.read(options.run, tasks.parse_stored, options.checkpoint)
    group = "images" if hasattr(run.config, "images") else "data"
    changes += [
        f"--config.{group}.{key}={getattr(options, key)}" for key in ("root", "data_dir") if getattr(options, key)
    ]
    config = flags.changed(run.config, changes, parser.format_usage())
    found = evaluate(run, config, data_mesh(), [name for name in options.splits.split(",") if name])
    EpochTable().add(found.epoch, found.table)
    if options.json is not None:
        options.json.write_text(json.dumps(_figures(found, options.checkpoint), indent=2) + "\n")
    return 0


def _figures(found: "RunEvaluation", checkpoint: str) -> dict[str, Any]:
    """What `--json` holds."""
    from vigor_jax import config as configs
    from vigor_jax.workdir import provenance

    return {
        "config": configs.to_dict(found.config),
        "workdir": str(found.workdir),
        "checkpoint": checkpoint,
        "step": found.step,
        "metrics": found.metrics,
        "versions": provenance.versions(),
    }
