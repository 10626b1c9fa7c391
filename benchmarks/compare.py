"""Runs of recipes side by side, each with several seeds: one JSON line a run, and to stderr a table a test split.

    python benchmarks/compare.py methods           the rows of VIGOR's table 3, on the demo's city
    python benchmarks/compare.py backbones         MobileNets of several widths and resolutions beside the demo's VGG
    python benchmarks/compare.py configs/grocery.py "configs/grocery.py --config.classifier.backbone=mobilenet_0.25"

A row is a config with its variant, and what it sets beside it; what follows the rows as `--config.key=value` is set in
all of them. Every run lies in a folder of the workdir. A finished one is read, an unfinished one goes on, so the same
command collects what is there. A cell is the mean over the seeds and, after +-, their standard deviation, in percent,
metres or kilometres. *found* are the queries whose true tile came first; *assisted* is the search around a noisy
position. Parameters and multiply-adds are those of the backbone up to its map; of both towers where there are two.
"""

import argparse
import json
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from figures import emit

from vigor_jax import markdown_table
from vigor_jax.models.cost import LayerCost, cost
from vigor_jax.models.towers import tower
from vigor_jax.report import wording

_ROOT = Path(__file__).parents[1]
Rows = Mapping[str, str]  # by name: the config with its variant, and settings


def _backbone(variant: str, side: int = 64) -> str:
    """At half the demo's steps, with tiles of so many pixels; panoramas are twice as wide."""
    return (
        f"configs/demo.py:{variant} --config.data.aerial_size=({side},{side}) "
        f"--config.data.ground_size=({side},{2 * side}) --config.epochs=10 --config.evaluate_every_epochs=10 "
        f"--config.optimizer.decay_steps=560"
    )


# The cheapest first, so that a comparison is there as early as it can be.
READY: dict[str, Rows] = {
    "methods": {method: f"configs/demo.py:{method}" for method in ("siamese_vgg", "safa", "safa_mining", "hybrid")},
    "backbones": {
        "vgg11": _backbone("safa"),
        "mobilenet_0.25": _backbone("safa,mobilenet_0.25"),
        **{f"mobilenet_0.25@{side}": _backbone("safa,mobilenet_0.25", side) for side in (32, 48, 96)},
        **{f"mobilenet_{width}": _backbone(f"safa,mobilenet_{width}") for width in ("0.5", "0.75", "1.0")},
    },
}
_SMALL: Rows = {"vgg11": _backbone("safa"), "mobilenet_0.25@32": _backbone("safa,mobilenet_0.25", 32)}
_VILLAGE = (
    "--config.epochs=1",
    "--config.data.train_cities=('Ashford',)",
    "--config.data.same_area_cities=('Ashford',)",
    "--config.data.test_cities=('Eastholm',)",
    "--config.rendered_city.train_tiles_per_side=8",
    "--config.rendered_city.test_tiles_per_side=5",
    "--config.data.validation_fraction=0.2",
    "--config.batch.size=4",
    "--config.eval_symmetries=False",
)
# No median over all queries: while fewer than half are found it is the distance between two places taken at random.
_COLUMNS = {
    "top1": "top-1",
    "top5": "top-5",
    "top1_percent": "top-1%",
    "hit_rate": "hit rate",
    "mean_class_top1": "top-1, mean of the classes",
    "within_10m": "within 10 m",
    "centre_within_10m": "centre within 10 m",
    "assisted_top1": "assisted: top-1",
    "found_median_m": "found: median m",
    "centre_found_median_m": "found: centre, median m",
    "assisted_median_m": "assisted: median m",
    "within_25km": "within 25 km",
    "median_km": "median km",
    "distance": "distance from the teacher",
    "agreement": "agreement with the teacher",
}
_SIZES = ("queries", "gallery", "images")
_BASELINES = ("chance", "mean_colour", "colour_histogram", "most_frequent", "pixel_neighbour")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help=f"{', '.join(READY)}; or configs, each with what it sets, quoted")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--workdir", type=Path, help="default: runs/methods, runs/backbones or runs/compare")
    parser.add_argument("--small", action="store_true", help="two rows in a village, to see that it runs")
    args, settings = parser.parse_known_args()
    others = [setting for setting in settings if not setting.startswith("--config.")]
    if others:
        parser.error(f"{others[0]} is neither an option nor a --config.key=value")
    if args.small:
        with tempfile.TemporaryDirectory() as folder:
            settings = [*_VILLAGE, f"--config.data.data_dir={folder}/prepared", *settings]
            return _compare(_SMALL, ["0"], Path(folder), settings)
    if not args.rows:
        parser.error("name what to compare")
    named = args.rows[0] if len(args.rows) == 1 and args.rows[0] in READY else "compare"
    rows = READY.get(named, {row: row for row in args.rows})
    return _compare(rows, args.seeds.split(","), args.workdir or Path("runs") / named, settings)


def _compare(rows: Rows, seeds: Sequence[str], workdir: Path, settings: Sequence[str]) -> int:
    found: dict[str, list[dict[str, Any]]] = {row: [] for row in rows}
    # Seed by seed, so that a comparison is complete as early as it can be.
    for seed in seeds:
        for row, recipe in rows.items():
            try:
                summary = _run(recipe, seed, workdir / f"{_folder(row)}-{seed}", settings)
            except subprocess.CalledProcessError as error:
                return error.returncode
            found[row].append(summary)
            backbones = _cost(summary["config"])
            emit(
                f"compare/{row}",
                seed=int(seed),
                steps=summary["steps"],
                step_s=summary["throughput"]["step_ms_p50"] / 1000,
                parameters=backbones.parameters,
                multiply_adds=backbones.multiply_adds,
                metrics={name: round(value, 4) for name, value in summary["metrics"].items()},
            )
    for table in tables(found):
        print("", *table, sep="\n", file=sys.stderr)
    return 0


def _folder(row: str) -> str:
    """What of a row may be a name of a folder: of configs the file's name, the variant and the values that are set."""
    short = row.removeprefix("configs/").replace(".py", "", 1).replace("--config.", "")
    return re.sub(r"[^\w.,@=-]+", "-", short).strip("-")


def _run(recipe: str, seed: str, run: Path, settings: Sequence[str]) -> dict[str, Any]:
    """The summary of a run of main.py, in a process of its own.

    Raises:
      subprocess.CalledProcessError: it ended with an error, which it has printed.
    """
    config, *own = shlex.split(recipe)
    flags = [f"--config={config}", f"--config.seed={seed}", f"--workdir={run.absolute()}", *own, *settings]
    # The table of the run goes where its log goes, so that the output is that of this program.
    subprocess.run([sys.executable, _ROOT / "main.py", *flags], check=True, stdout=sys.stderr)
    return json.loads((run / "summary.json").read_text())


def _cost(config: Mapping[str, Any]) -> LayerCost:
    """Of the backbones of a summary's config, for an image of each kind that it takes."""
    if config.get("model"):
        model, sizes = config["model"], (config["data"]["aerial_size"], config["data"]["ground_size"])
    else:
        model, sizes = config["classifier"], [2 * (config["images"]["crop"],)]
    module = tower(model["backbone"], stride=model.get("stride", 0), width=model.get("width", 1.0), dtype="float32")
    each = [cost(module, *size).total for size in sizes]
    return LayerCost(
        "backbones",
        parameters=sum(one.parameters for one in each),
        multiply_adds=sum(one.multiply_adds for one in each),
    )


def tables(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[list[str]]:
    """What the rows cost and, of each test split, what they find: lines of Markdown, from the summaries of each row."""
    costs = [["row", "parameters", "multiply-adds", "s a step"]]
    for row, runs in found.items():
        backbones = _cost(runs[0]["config"])
        seconds = statistics.median(run["throughput"]["step_ms_p50"] / 1000 for run in runs)
        costs.append([row, f"{backbones.parameters:,}", f"{backbones.multiply_adds:,}", f"{seconds:.3f}"])
    metrics = {row: [run["metrics"] for run in runs] for row, runs in found.items()}
    named = dict.fromkeys(name.split("/")[0] for runs in metrics.values() for run in runs for name in run)
    splits = sorted(set(named) - {"validation"}, reverse=True)
    return [markdown_table.lines(costs, text_columns=1), *(_table(split, metrics) for split in splits)]


def _table(split: str, metrics: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """Columns that any row has; one that a row has not, as an offset head's median, is - there."""
    columns = [
        column for column in _COLUMNS if any(f"{split}/{column}" in run for runs in metrics.values() for run in runs)
    ]
    cells = [["row", *(_COLUMNS[column] for column in columns)]]
    for row, runs in metrics.items():
        values = [[run[f"{split}/{column}"] for run in runs if f"{split}/{column}" in run] for column in columns]
        cells.append([row, *(_mean_and_spread(*pair) for pair in zip(columns, values, strict=True))])
    first_row = next(iter(metrics.values()))
    first = first_row[0]
    sizes = [f"{size}: {first[f'{split}/{size}']:.0f}" for size in _SIZES if f"{split}/{size}" in first]
    baselines = [
        f"{name.replace('_', ' ')} {' / '.join(f'{100 * value:.1f}' for value in shares)}"
        for name in _BASELINES
        if (shares := [first[key] for k in ("top1", "top5") if (key := f"{split}/{name}_{k}") in first])
    ]
    lines = [
        f"{split} ({', '.join([f'seeds: {len(first_row)}', *sizes])})",
        "",
        *markdown_table.lines(cells, text_columns=1),
    ]
    return [*lines, "", f"Top-1 / top-5 by {', '.join(baselines)}."] if baselines else lines


def _mean_and_spread(column: str, values: Sequence[float]) -> str:
    if not values:
        return "-"
    scale, digits = (100, 1) if wording.is_share(column) else (1, 1 if wording.is_distance(column) else 3)
    spread = f" +- {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{scale * statistics.mean(values):.{digits}f}{spread}"


if __name__ == "__main__":
    sys.exit(main())
