"""Resizes and stores the images that a config needs, as training would; reads and compares those stored before."""

from collections.abc import Sequence

from absl import flags as absl_flags

from vigor_jax.commands import flags

USAGE = """\
usage: {program} --config=FILE[:VARIANT] [--config.KEY=VALUE ...]

Resizes and stores the images that a config needs, as training would; reads and compares those stored before.

  {program} --config=configs/cross_area.py --config.data.root=/path/to/VIGOR
  {program} --config=configs/vgg.py --config.images.root=/path/to/ImageNet --config.images.data_dir=data"""


def main(program: str, arguments: Sequence[str]) -> int:
    """Prints what is there in the end."""
    config = flags.parse(absl_flags.FlagValues(), arguments, USAGE.format(program=program)).config

    from vigor_jax import tasks

    print(tasks.entry(config.task).load(config, verify=True).described())
    return 0
