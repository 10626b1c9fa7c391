"""The two multipliers of the MobileNet paper on the cross-view task: what a narrower network or smaller images cost.

    python benchmarks/backbones.py [--workdir=runs/backbones] [--rows=vgg11,mobilenet_0.25,mobilenet_0.25@32 ...]
        [--epochs=10] [--small] [--config.key=value ...]

A row is a backbone and, after an @, the side of the tiles in pixels (64 without; panoramas are twice as wide). Each is
configs/demo.py, method safa, at one budget of steps, from random weights and with one seed; `vgg11` is the demo's own
narrow VGG. Each run lies in WORKDIR/<row>. A finished run is read, an unfinished one goes on, so the same command
collects what is there. Prints one JSON line a row, with both towers' parameters, the multiply-adds of both for one
pair, recalls in percent and seconds, and to stderr the table in Markdown.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from figures import emit

from vigor_jax.config import Config, parse
from vigor_jax.models.cost import LayerCost, cost
from vigor_jax.models.towers import tower

_ROOT = Path(__file__).parents[1]
# The cheapest first, so that a comparison is there as early as it can be.
_WIDTHS = tuple(f"mobilenet_{width}" for width in ("0.25", "0.5", "0.75", "1.0"))
_RESOLUTIONS = tuple(f"mobilenet_0.25@{side}" for side in (32, 48, 96))
_ROWS = ("vgg11", _WIDTHS[0], *_RESOLUTIONS, *_WIDTHS[1:])
_SIDE = 64  # pixels, the demo's
_STEPS_PER_EPOCH = 56  # of the demo's batches of 32
_SMALL = (
    "--config.data.train_cities=('Ashford',)",
    "--config.data.same_area_cities=('Ashford',)",
    "--config.data.test_cities=('Eastholm',)",
    "--config.rendered_city.train_tiles_per_side=8",
    "--config.rendered_city.test_tiles_per_side=5",
    "--config.data.validation_fraction=0.2",
    "--config.batch.size=4",
    "--config.eval_symmetries=False",
)
_RECALLS = ("top1", "top5")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path("runs/backbones"))
    parser.add_argument("--rows", default=",".join(_ROWS))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--small", action="store_true", help="two rows in a village, to see that it runs")
    args, settings = parser.parse_known_args()
    if not args.small:
        return _compare(args.rows.split(","), args.epochs, args.workdir, settings)
    with tempfile.TemporaryDirectory() as folder:  # what an earlier version left there would not be run again
        settings = [*_SMALL, f"--config.data.data_dir={folder}/prepared", *settings]
        return _compare(["vgg11", "mobilenet_0.25@32"], 1, Path(folder), settings)


def _compare(rows: list[str], epochs: int, workdir: Path, settings: list[str]) -> int:
    lines = []
    for row in rows:
        try:
            summary = _run(row, epochs, workdir / row, settings)
        except subprocess.CalledProcessError as error:
            return error.returncode
        figures = _figures(summary)
        emit(f"backbones/{row}", steps=summary["steps"], **figures)
        lines.append(_line(row, figures))
    print("\n".join([*_HEADER, *lines]), file=sys.stderr)
    return 0


def _run(row: str, epochs: int, workdir: Path, settings: list[str]) -> dict[str, Any]:
    """The summary of a run of main.py, in a process of its own.

    Raises:
      subprocess.CalledProcessError: it ended with an error, which it has printed.
    """
    backbone, _, side = row.partition("@")
    side = int(side or _SIDE)
    # The demo's own VGG is its default.
    variant = "safa" if backbone == "vgg11" else f"safa,{backbone}"
    flags = [
        f"--config={_ROOT / 'configs' / 'demo.py'}:{variant}",
        f"--config.data.aerial_size=({side}, {side})",
        f"--config.data.ground_size=({side}, {2 * side})",
        f"--config.epochs={epochs}",
        f"--config.evaluate_every_epochs={epochs}",
        f"--config.optimizer.decay_steps={epochs * _STEPS_PER_EPOCH}",
    ]
    command = [sys.executable, _ROOT / "main.py", *flags, f"--workdir={workdir}", *settings]
    # The table of the run goes where its log goes, so that the output is that of this program.
    subprocess.run(command, check=True, stdout=sys.stderr)
    return json.loads((workdir / "summary.json").read_text())


def _figures(summary: dict[str, Any]) -> dict[str, float]:
    """What a row says, of a finished run."""
    config = parse(summary["config"])
    tile, panorama = (_tower_cost(config, size) for size in (config.data.aerial_size, config.data.ground_size))
    metrics, throughput = summary["metrics"], summary["throughput"]
    return {
        "tile_px": config.data.aerial_size[0],
        "parameters": tile.parameters + panorama.parameters,
        "multiply_adds": tile.multiply_adds + panorama.multiply_adds,
        **{
            f"{split}_{recall}_percent": 100 * metrics[f"{split}/{recall}"]
            for split in ("validation", "same_area", "cross_area")
            for recall in _RECALLS
        },
        "step_s": throughput["step_ms_p50"] / 1000,
        "steps_s": throughput["step_ms"] * throughput["timed_steps"] / 1000,
    }


def _tower_cost(config: Config, size: tuple[int, int]) -> LayerCost:
    module = tower(
        config.model.backbone, stride=config.model.stride, width=config.model.width, dtype=config.model.dtype
    )
    return cost(module, *size).total


_HEADER = (
    "| towers | tile px | parameters | multiply-adds a pair | same area: top-1 | top-5 | cross area: top-1 | top-5 "
    "| seconds a step |",
    "|---|---|---|---|---|---|---|---|---|",
)


def _line(row: str, figures: dict[str, float]) -> str:
    recalls = [
        f"{figures[f'{split}_{recall}_percent']:.1f}" for split in ("same_area", "cross_area") for recall in _RECALLS
    ]
    cells = [
        row.partition("@")[0],
        f"{figures['tile_px']}",
        f"{figures['parameters']:,}",
        f"{figures['multiply_adds']:,}",
        *recalls,
        f"{figures['step_s']:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
