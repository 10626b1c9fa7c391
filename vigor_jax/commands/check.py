"""Looks at raw data: what is there, and every file that is not sound.

    vigor-jax check --root=/path/to/VIGOR
    vigor-jax check --root=/path/to/VIGOR --images=full --list=bad.txt
    vigor-jax check --data=imagenet --root=/path/to/ImageNet

Exit code 0 if all is sound, 1 if not.
"""

from collections.abc import Sequence
from pathlib import Path

from vigor_jax import datasets
from vigor_jax.commands.arguments import Parser, writable_file


def main(program: str, arguments: Sequence[str]) -> int:
    """Prints what was found."""
    parser = Parser(program, __doc__)
    parser.add_argument(
        "--root",
        type=Path,
        required=True,
        metavar="DIR",
        help="of VIGOR: holds splits/ or splits__corrected/ and the images; of others: as --config.images.root",
    )
    parser.add_argument(
        "--data", choices=("vigor", *sorted(datasets.LABELLED_IMAGES)), default="vigor", help="what it is"
    )
    parser.add_argument(
        "--images",
        choices=("none", "headers", "full"),
        default="headers",
        help="labels only; every image is there and whole at both ends; every image decodes (default: headers)",
    )
    parser.add_argument(
        "--list",
        type=writable_file,
        metavar="FILE",
        help="write the name of every missing or damaged image to this file",
    )
    options = parser.parse_args(arguments)
    if options.data == "vigor":
        from vigor_jax.datasets import check

        report = check.check(options.root, options.images)
        print(check.describe(report))
    else:
        from vigor_jax.datasets import check_photos

        report = check_photos.check(options.data, str(options.root), options.images)
        print(check_photos.describe(report))
    if options.list:
        options.list.write_text("".join(f"{line}\n" for line in report.bad_files()))
    return 0 if report.sound else 1
