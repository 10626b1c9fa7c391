"""Trains or collects the descriptor study: recall, hit rate and metres against the descriptor's size.

    python -m vigor_jax.commands.descriptor_study --config=configs/descriptor_study.py[:VARIANT] --workdir=DIR

Every size of the config's sweep is trained in DIR/<size>, one after the other; what is complete is read, what is not
goes on. Any --config.KEY=VALUE, as of main.py, holds for all of them. The largest descriptor is then compressed by
principal components, to int8 and by product quantisation. The table is printed and written to
DIR/descriptor_study.md, with every metric in DIR/descriptor_study.json.
"""

import dataclasses
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import config_flags

from vigor_jax import console, markdown_table
from vigor_jax.commands.flags import parse
from vigor_jax.errors import UserError

if TYPE_CHECKING:
    from vigor_jax.studies.descriptor_sweep import Study

_NAME = "descriptor_study"
# What the sizes themselves set.
_SET_BY_SIZES = ("model.num_heads", "model.channels_per_head")


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0, or 2 after an error that the user can mend, or 130 after Ctrl-C."""
    console.set_up()
    if {"-h", "--help"} & set(argv[1:]):
        print(__doc__)
        return 0
    try:
        config, workdir = parse(argv)
        sizes = _sizes()
        # Not before the flags are known to be good: an error in them shall not wait for JAX to load.
        from vigor_jax import compilation_cache
        from vigor_jax.studies.descriptor_sweep import study

        compilation_cache.keep()
        print(write(study(config, sizes, workdir), workdir))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from the last checkpoint.", file=sys.stderr)
        return 130
    return 0


def _sizes() -> tuple[str, ...]:
    """The sweep that the config file names beside its config."""
    flag = flags.FLAGS["config"]
    for key in _SET_BY_SIZES:
        if key in config_flags.get_override_values(flag):
            raise UserError(f"--config.{key} is what the sizes of the study set. Leave it out, or name one size.")
    path, _, variant = config_flags.get_config_filename(flag).partition(":")
    spec = importlib.util.spec_from_file_location(_NAME, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "sizes"):
        raise UserError(f"--config={path} has no sweep of sizes. Give configs/descriptor_study.py, or a file like it.")
    return module.sizes(variant)


def write(done: "Study", workdir: Path) -> str:
    """Writes `descriptor_study.json` and `descriptor_study.md`; returns the latter's text."""
    text = page(done)
    for suffix, content in (("json", json.dumps(dataclasses.asdict(done), indent=2)), ("md", text)):
        (workdir / f"{_NAME}.{suffix}").write_text(content + "\n")
    return text


def page(done: "Study") -> str:
    """A Markdown table with a row for each test split and descriptor, and under it what the columns mean."""
    first = done.rows[0].metrics
    placed = any(key.endswith("/median_m") for key in first)
    splits = [key.removesuffix("/top1") for key in first if key.endswith("/top1")]
    cells = [("split", "descriptor", "dimension", "bytes", "top-1", "top-5", "hit rate", "median m")]
    for split in splits:
        if split == "validation":  # it chose checkpoints, so it tests nothing
            continue
        for row in done.rows:
            fractions = (row.metrics[f"{split}/{metric}"] for metric in ("top1", "top5", "hit_rate"))
            metres = row.metrics[f"{split}/{'median_m' if placed else 'centre_median_m'}"]
            percent = (f"{100 * fraction:.1f}" for fraction in fractions)
            cells.append((split, row.descriptor, str(row.dimension), str(row.bytes), *percent, f"{metres:.1f}"))
    where = "the offset predicted on the first tile" if placed else "the centre of the first tile"
    return "\n".join(
        [
            *markdown_table.lines(cells, text_columns=2),
            "",
            f"Top-1, top-5 and hit rate in percent; metres by {where}; all by each run's last checkpoint.",
            "Bytes are those stored for a tile: four a number of a trained descriptor or a principal component.",
            f"PCA, int8 and PQ (product quantisation) compress the descriptors of {done.compressed}, fitted on",
            f"{done.fit_tiles} training tiles and {done.fit_panoramas} training panoramas. PCA takes their mean off, "
            "also where it keeps every dimension.",
            *(f"Left out: {sentence}" for sentence in done.left_out),
        ]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv))
