"""Table 3 of the VIGOR paper, row by row from one trainer: every method with several seeds, at one budget of steps.

    python benchmarks/methods.py [--config=configs/demo.py] [--workdir=runs/methods] [--seeds=0,1,2]
        [--methods=siamese_vgg,safa,safa_mining,hybrid] [--config.key=value ...]

Each method is a variant of the config, each run lies in WORKDIR/<method>-<seed>. A finished run is read, an
unfinished one goes on, so the same command collects what is there. Prints one JSON line a run, then a table a test
split: mean over the seeds and, after +-, their standard deviation; percent and metres.
*found* are the queries whose true tile came first; *assisted* is the search around a noisy position.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

_MAIN = Path(__file__).parents[1] / "main.py"
_PERCENT = {"top-1": "top1", "top-5": "top5", "top-1%": "top1_percent", "hit rate": "hit_rate"}
_PLACED = {
    "within 10 m": "within_10m",
    "centre within 10 m": "centre_within_10m",
    "assisted: top-1": "assisted_top1",
}
# No median over all queries: while fewer than half are found it is the distance between two places taken at random.
_METRES = {
    "found: median m": "found_median_m",
    "found: centre, median m": "centre_found_median_m",
    "assisted: median m": "assisted_median_m",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/demo.py", help="whose variants are the methods")
    parser.add_argument("--workdir", type=Path, default=Path("runs/methods"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--methods", default="siamese_vgg,safa,safa_mining,hybrid")
    args, settings = parser.parse_known_args()
    methods = args.methods.split(",")
    found: dict[str, list[dict[str, Any]]] = {method: [] for method in methods}
    try:
        # Seed by seed, so that a comparison is complete as early as it can be.
        for seed in args.seeds.split(","):
            for method in methods:
                summary = _run(args.config, method, seed, args.workdir, settings)
                found[method].append(summary["metrics"])
                print(
                    json.dumps({"method": method, "seed": int(seed), "steps": summary["steps"], **_own(summary)}),
                    flush=True,
                )
    except subprocess.CalledProcessError as error:
        return error.returncode
    splits = sorted({name.split("/")[0] for name in found[methods[0]][0]} - {"validation"}, reverse=True)
    for split in splits:
        print(f"\n{split}, {len(args.seeds.split(','))} seeds\n")
        print("\n".join(_table(split, found)))
    return 0


def _run(config: str, method: str, seed: str, workdir: Path, settings: list[str]) -> dict[str, Any]:
    """The summary of a run of main.py, in a process of its own.

    Raises:
      subprocess.CalledProcessError: it ended with an error, which it has printed.
    """
    variant = f"{config},{method}" if ":" in config else f"{config}:{method}"
    run = workdir / f"{method}-{seed}"
    flags = [f"--config={variant}", f"--config.seed={seed}", f"--workdir={run}", *settings]
    # The table of the run goes where its log goes, so that the output is that of this program.
    subprocess.run([sys.executable, _MAIN, *flags], check=True, stdout=sys.stderr)
    return json.loads((run / "summary.json").read_text())


def _own(summary: dict[str, Any]) -> dict[str, Any]:
    metrics = {name: round(value, 4) for name, value in summary["metrics"].items() if "chance" not in name}
    return {"step_ms": summary["throughput"]["step_ms"], "metrics": metrics}


def _table(split: str, found: dict[str, list[dict[str, float]]]) -> list[str]:
    """Markdown; a method without an offset head has no median of its own."""
    columns = {**_PERCENT, **_PLACED, **_METRES}
    lines = ["| method | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for method, runs in found.items():
        cells = []
        for metric in columns.values():
            values = [run[f"{split}/{metric}"] for run in runs if f"{split}/{metric}" in run]
            scale = 1 if metric in _METRES.values() else 100
            cells.append(_mean_and_spread([scale * value for value in values]))
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    first = next(iter(found.values()))[0]
    sizes = f"{first[f'{split}/queries']:.0f} queries, gallery of {first[f'{split}/gallery']:.0f} tiles"
    chance = f"chance {100 * first[f'{split}/chance_top1']:.2f} / {100 * first[f'{split}/chance_top5']:.2f}"
    colour = " / ".join(
        f"{100 * max(first[f'{split}/{baseline}_{k}'] for baseline in ('mean_colour', 'colour_histogram')):.1f}"
        for k in ("top1", "top5")
    )
    return [*lines, "", f"{sizes}; top-1 / top-5 by {chance}, by colour {colour}."]


def _mean_and_spread(values: list[float]) -> str:
    if not values:
        return "-"
    spread = f" +- {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


if __name__ == "__main__":
    sys.exit(main())
