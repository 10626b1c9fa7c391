"""Commands around the data: `python -m vigor_jax.datasets check | prepare | render --help`."""

import argparse
import sys
from pathlib import Path

from vigor_jax import console, datasets
from vigor_jax.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, 1 if the check finds something wrong, 2 after a user's error."""
    console.set_up()
    parser = argparse.ArgumentParser(prog="python -m vigor_jax.datasets", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    check = commands.add_parser("check", help="look at raw data: what is there, and every file that is not sound")
    check.add_argument(
        "--data", choices=("vigor", *sorted(datasets.LABELLED_IMAGES)), default="vigor", help="what it is"
    )
    check.add_argument(
        "--root",
        type=Path,
        required=True,
        help="of VIGOR: holds splits/ or splits__corrected/ and the images; of others: as --config.images.root",
    )
    check.add_argument(
        "--images",
        choices=("none", "headers", "full"),
        default="headers",
        help="labels only; every image is there and whole at both ends; every image decodes (default: headers)",
    )
    check.add_argument("--list", type=Path, help="write the name of every missing or damaged image to this file")
    check.set_defaults(run=_check)

    prepare = commands.add_parser(
        "prepare",
        help="resize and store the images that a config needs, as training would; read and compare those stored before",
        epilog="Any key of the config can follow, as for main.py: --config.data.root=/path/to/VIGOR",
    )
    prepare.add_argument("--config", required=True, help="configs/cross_area.py, or with a variant: FILE:VARIANT")
    prepare.set_defaults(run=_prepare)

    render = commands.add_parser("render", help="render images at the places of VIGOR's labels, in VIGOR's layout")
    render.add_argument("--labels", type=Path, required=True, help="VIGOR's label files: a folder or a .tar.xz")
    render.add_argument("--root", type=Path, required=True, help="where to write; then --config.data.root of a run")
    render.add_argument("--cities", nargs="+", required=True, help="e.g. NewYork Seattle Chicago")
    render.add_argument("--tiles", type=int, default=300, help="tiles a city, in one block (default: 300)")
    render.add_argument("--tile_size", type=int, default=640, help="pixels, side of a tile (default: 640)")
    render.add_argument("--panorama_height", type=int, default=1024, help="pixels, half its width (default: 1024)")
    render.add_argument("--seed", type=int, default=0, help="of the rendered world (default: 0)")
    render.set_defaults(run=_render)

    options, rest = parser.parse_known_args(arguments)
    if rest and options.command != "prepare":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return options.run(options, rest)
    except UserError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 2


def _check(options: argparse.Namespace, rest: list[str]) -> int:
    del rest
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


def _prepare(options: argparse.Namespace, rest: list[str]) -> int:
    from vigor_jax.commands import flags

    config, _ = flags.parse(["prepare", f"--config={options.config}", *rest])
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


def _render(options: argparse.Namespace, rest: list[str]) -> int:
    del rest
    from vigor_jax.datasets.vigor import render_at_labels

    render_at_labels.render(
        options.labels,
        options.root,
        cities=options.cities,
        tiles=options.tiles,
        tile_size=options.tile_size,
        panorama_height=options.panorama_height,
        seed=options.seed,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
