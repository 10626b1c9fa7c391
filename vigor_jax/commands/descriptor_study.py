"""Trains or collects the descriptor study: recall, hit rate and metres against the descriptor's size."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags as absl_flags

from vigor_jax import markdown_table
from vigor_jax.commands import flags
from vigor_jax.commands.flags import ReadConfig
from vigor_jax.errors import UserError

if TYPE_CHECKING:
    from vigor_jax.studies.descriptor_sweep import Study

USAGE = """\
usage: {program} --config=FILE[:VARIANT] [--config.KEY=VALUE ...] [--workdir=DIR]

Trains or collects the descriptor study: recall, hit rate and metres against the descriptor's size.

  {program} --config=configs/descriptor_study.py:demo
  {program} --config=configs/descriptor_study.py --config.data.root=/path/to/VIGOR --workdir=runs/study

Every size of the config's sweep is trained in WORKDIR/<size>, one after the other; what is complete is read, what is
not goes on. Any --config.KEY=VALUE, as of `train`, holds for all of them. The largest descriptor is then compressed by
principal components, to int8 and by product quantisation. The table is printed and written to
WORKDIR/descriptor_study.md, with every metric in WORKDIR/descriptor_study.json; the workdir is runs/<config.name>
unless given."""
_NAME = "descriptor_study"
# What the sizes themselves set.
_SET_BY_SIZES = ("model.num_heads", "model.channels_per_head")


def main(program: str, arguments: Sequence[str]) -> int:
    """Prints the table once everything is trained."""
    values = absl_flags.FlagValues()
    workdir = absl_flags.DEFINE_string("workdir", None, "where the runs lie", flag_values=values)
    read = flags.parse(values, arguments, USAGE.format(program=program))
    sizes = _sizes(read)
    # Not before the flags are known to be good: an error in them shall not wait for JAX to load.
    from vigor_jax import compilation_cache
    from vigor_jax.studies.descriptor_sweep import study

    compilation_cache.keep()
    folder = Path(workdir.value or f"runs/{read.config.name}")
    print(write(study(read.config, sizes, folder), folder))
    return 0


def _sizes(read: ReadConfig) -> tuple[str, ...]:
    """The sweep that the config file names beside its config."""
    for key in _SET_BY_SIZES:
        if key in read.overridden:
            raise UserError(f"--config.{key} is what the sizes of the study set. Leave it out, or name one size.")
    if not hasattr(read.file.module, "sizes"):
        raise UserError(
            f"--config={read.file.given} has no sweep of sizes. Give configs/descriptor_study.py, or a file like it."
        )
    return read.file.module.sizes(read.file.variant)


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
