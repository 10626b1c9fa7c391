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

    from vigor_jax import datasets

    if config.images is not None:
        images = datasets.load_images(config.images, config.rendered_city, verify=True)
        splits = {"train": images.train, "validation": images.validation, "test": images.test}
        counts = ", ".join(f"{len(rows):,} {name}" for name, rows in splits.items())
        print(f"{images.name} in {config.images.data_dir}: {len(images.class_names)} classes, {counts} images")
        return 0
    data = datasets.load(config.data, config.rendered_city, verify=True)
    counts = f"{len(data.tiles):,} tiles, {len(data.panoramas):,} panoramas"
    print(f"{', '.join(data.cities)} in {config.data.data_dir}: {counts}")
    return 0
