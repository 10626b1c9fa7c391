"""Says of every array of a weight file whether it fits a backbone.

    vigor-jax weights vgg16 /path/to/vgg16-397923af.pth
    vigor-jax weights mobilenet_1.0 weights.safetensors --classes=1000

Exit code 0 if the file fits, 2 if it does not.
"""

from collections.abc import Sequence

from vigor_jax.commands.arguments import Parser, positive


def main(program: str, arguments: Sequence[str]) -> int:
    """Prints what was loaded and every array that was not."""
    parser = Parser(program, __doc__)
    parser.add_argument("name", metavar="NAME", help="of the backbone, e.g. vgg16")
    parser.add_argument("file", metavar="FILE", help=".safetensors, .pth, .pt, .bin, .h5, .npz or vgg16.npy")
    parser.add_argument(
        "--classes", type=positive("classes"), metavar="N", help="of the classifier (default: the backbone alone)"
    )
    parser.add_argument("--allow_partial", action="store_true", help="what is missing or of another shape may be so")
    options = parser.parse_args(arguments)

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
