"""Averages the class probabilities of several finished runs of 'classification', and says what that gains.

    vigor-jax fuse runs/vgg16 runs/vgg19 --json=fusion.json

Each run is tested as its own config says (config.classifier.test_protocol and test_scales), on the images that its
config names, with the weights of its last checkpoint. Backbones and crops may differ; the classes and the images of the
splits may not. A table of the accuracy of each run and of the mean is printed, and written to FILE with --json.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vigor_jax import markdown_table
from vigor_jax.commands.arguments import Parser
from vigor_jax.errors import UserError

if TYPE_CHECKING:
    from vigor_jax.studies.fusion import Fusion, Member

_FIGURES = {"top1": "top-1", "top5": "top-5"}


def main(program: str, arguments: Sequence[str]) -> int:
    """Prints a table."""
    parser = Parser(program, __doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="workdir of a finished run")
    parser.add_json("all figures")
    options = parser.parse_args(arguments)
    _require_several(options.runs)

    from vigor_jax import compilation_cache
    from vigor_jax.parallel.mesh import data_mesh
    from vigor_jax.studies.fusion import fuse, read

    compilation_cache.keep()
    members = [read(run) for run in options.runs]
    found = fuse(members, data_mesh())
    print(table(members, found))
    if options.json is not None:
        options.json.write_text(json.dumps(figures(members, found), indent=2) + "\n")
    return 0


def _require_several(runs: Sequence[Path]) -> None:
    if len(runs) < 2:
        raise UserError("one run alone has no mean. Name two or more.")
    resolved = [run.resolve() for run in runs]
    for run in runs:
        if resolved.count(run.resolve()) > 1:
            raise UserError(f"{run} is named twice, and would count twice. Name each run once.")


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
