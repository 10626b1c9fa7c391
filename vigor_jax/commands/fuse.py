"""Averages the class probabilities of several finished runs of 'classification', and says what that gains.

    python -m vigor_jax.fusion RUN_A RUN_B ... [--json=FILE]

Each run is tested as its own config says (config.classifier.test_protocol and test_scales), on the images that its
config names, with the weights of its last checkpoint. Backbones and crops may differ; the classes and the images of the
splits may not. A table of the accuracy of each run and of the mean is printed, and written to FILE with --json.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vigor_jax import console, markdown_table
from vigor_jax.errors import UserError

if TYPE_CHECKING:
    from vigor_jax.studies.fusion import Fusion, Member

_FIGURES = {"top1": "top-1", "top5": "top-5"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 after an error that the user can mend, or 130 after Ctrl-C."""
    console.set_up()
    parser = argparse.ArgumentParser(
        prog="python -m vigor_jax.fusion", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="workdir of a finished run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args(arguments)
    try:
        _check(options.runs, options.json)
        # Not before the arguments are known to be good: an error in them shall not wait for JAX to load.
        from vigor_jax import compilation_cache
        from vigor_jax.parallel.mesh import data_mesh
        from vigor_jax.studies.fusion import fuse, read

        compilation_cache.keep()
        members = [read(run) for run in options.runs]
        found = fuse(members, data_mesh())
        print(table(members, found))
        if options.json is not None:
            options.json.write_text(json.dumps(figures(members, found), indent=2) + "\n")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    return 0


def _check(runs: Sequence[Path], json_file: Path | None) -> None:
    if len(runs) < 2:
        raise UserError("one run alone has no mean. Name two or more.")
    resolved = [run.resolve() for run in runs]
    for run in runs:
        if resolved.count(run.resolve()) > 1:
            raise UserError(f"{run} is named twice, and would count twice. Name each run once.")
    if json_file is not None and (not json_file.parent.is_dir() or json_file.is_dir()):
        raise UserError(f"--json={json_file}: a file cannot be written there. Name one in a folder that exists.")


def table(members: Sequence["Member"], found: "Fusion") -> str:
    """A Markdown table with a row for each run and one for all of them, in percent."""
    columns = [(split, name) for split in members[0].data.splits for name in _FIGURES]
    head = ["run", "backbone", "tested by", "Q", *(f"{split} {_FIGURES[name]}" for split, name in columns)]
    rows = []
    for member, metrics in zip(members, found.alone, strict=True):
        chosen = member.config.classifier
        scales = ", ".join(map(str, chosen.test_scales))
        rows.append(([str(member.workdir), chosen.backbone, chosen.test_protocol, scales], metrics))
    rows.append((["mean of all", "", "", ""], found.together))
    cells = [head]
    for text, metrics in rows:
        cells.append([*text, *(f"{100 * metrics[f'{split}/{name}']:.1f}" for split, name in columns)])
    return "\n".join(markdown_table.lines(cells, text_columns=len(head) - len(columns)))


def figures(members: Sequence["Member"], found: "Fusion") -> dict[str, Any]:
    """What `--json` holds: under `runs` each run, how it was tested and its metrics; under `fusion` those of all."""
    runs = [
        {
            "workdir": str(member.workdir),
            "step": member.step,
            "backbone": member.config.classifier.backbone,
            "test_protocol": member.config.classifier.test_protocol,
            "test_scales": list(member.config.classifier.test_scales),
            "crop": member.config.images.crop,
            "metrics": metrics,
        }
        for member, metrics in zip(members, found.alone, strict=True)
    ]
    images = {split: len(rows) for split, rows in members[0].data.splits.items()}
    return {"runs": runs, "fusion": found.together, "images": images}


if __name__ == "__main__":
    sys.exit(main())
