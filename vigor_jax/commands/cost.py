"""Counts parameters, multiply-adds and activation memory of a backbone, by layer and in total.

    vigor-jax cost vgg16
    vigor-jax cost mobilenet_0.75 --image=192 --classes=1000

docs/backbones.md says what is counted.
"""

import argparse
import re
from collections.abc import Sequence

from vigor_jax.commands.arguments import Parser, positive


def main(program: str, arguments: Sequence[str]) -> int:
    """Prints a table."""
    parser = Parser(program, __doc__)
    parser.add_argument("name", metavar="NAME", help="of the backbone, e.g. mobilenet_1.0")
    parser.add_argument(
        "--image",
        type=_sides,
        metavar="PIXELS",
        help="224, or height x width, 320x640 (default: the size it was published for)",
    )
    parser.add_argument(
        "--classes", type=positive("classes"), metavar="N", help="count the classifier of this many classes too"
    )
    options = parser.parse_args(arguments)

    from vigor_jax.models import registry
    from vigor_jax.models.classifier import classifier
    from vigor_jax.models.cost import cost
    from vigor_jax.models.cost_table import cost_table

    entry = registry.entry(options.name)
    height, width = options.image or (entry.image_size, entry.image_size)
    if options.classes:
        # Of smaller images than published it is another one where it has fully connected layers; larger ones they fit.
        network = classifier(options.name, options.classes, image_size=min(height, width, entry.image_size))
    else:
        network = entry.make()
    print(f"{options.name}, one image of {height} x {width}, float32\n")
    print(cost_table(cost(network, height, width)))
    return 0


def _sides(text: str) -> tuple[int, int]:
    sides = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text)
    if not sides:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 224 or 320x640")
    return int(sides[1]), int(sides[2] or sides[1])
