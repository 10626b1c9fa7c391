"""Commands around the models: `python -m vigor_jax.models cost --help`, `... weights --help`."""

import argparse
import re
import sys

from vigor_jax import console
from vigor_jax.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, or 2 after a user's error."""
    console.set_up()
    parser = argparse.ArgumentParser(prog="python -m vigor_jax.models", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    cost = commands.add_parser(
        "cost", help="parameters, multiply-adds and activation memory of a backbone, by layer and in total"
    )
    cost.add_argument("name", help="of the backbone, e.g. mobilenet_1.0")
    cost.add_argument(
        "--image", type=_sides, help="pixels: 224, or height x width, 320x640 (default: the size it was published for)"
    )
    cost.add_argument("--classes", type=_count, help="count the classifier of this many classes too (default: none)")
    cost.set_defaults(run=_cost)

    weights = commands.add_parser(
        "weights", help="whether a file of weights fits a backbone, array by array; exits 2 if it does not"
    )
    weights.add_argument("name", help="of the backbone, e.g. vgg16")
    weights.add_argument("file", help=".safetensors, .pth, .pt, .bin, .h5, .npz or vgg16.npy")
    weights.add_argument("--classes", type=_count, help="of the classifier (default: the backbone alone)")
    weights.add_argument("--allow_partial", action="store_true", help="what is missing or of another shape may be so")
    weights.set_defaults(run=_weights)

    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except UserError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 2


def _sides(text: str) -> tuple[int, int]:
    sides = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text)
    if not sides:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 224 or 320x640")
    return int(sides[1]), int(sides[2] or sides[1])


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of classes")
    return int(text)


def _cost(options: argparse.Namespace) -> int:
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


def _weights(options: argparse.Namespace) -> int:
    from vigor_jax.models import registry
    from vigor_jax.models.classifier import classifier
    from vigor_jax.models.pretrained.load_report import UnfittingWeightsError
    from vigor_jax.models.pretrained.loading import load

    entry = registry.entry(options.name)
    network = classifier(options.name, options.classes) if options.classes else entry.make()
    try:
        loaded = load(network, options.name, options.file, allow_partial=options.allow_partial)
    except UnfittingWeightsError as error:
        print(error.report.listed())
        raise
    print(loaded.report.listed())
    print(f"preprocessing: {loaded.preprocessing}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
