"""Renders images at the places of VIGOR's labels, in VIGOR's layout: a stand-in until VIGOR itself is there.

    vigor-jax render --labels=vigor_labels.tar.xz --root=data/VIGOR_rendered --cities NewYork Seattle Chicago

The root is then --config.data.root of a run.
"""

from collections.abc import Sequence
from pathlib import Path

from vigor_jax.commands.arguments import Parser


def main(program: str, arguments: Sequence[str]) -> int:
    """Renders what is not there yet."""
    parser = Parser(program, __doc__)
    parser.add_argument(
        "--labels", type=Path, required=True, metavar="DIR", help="VIGOR's label files: a folder or a .tar.xz"
    )
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument("--cities", nargs="+", required=True, metavar="CITY", help="e.g. NewYork Seattle Chicago")
    parser.add_argument("--tiles", type=int, default=300, metavar="N", help="a city, in one block (default: 300)")
    parser.add_argument("--tile_size", type=int, default=640, metavar="PIXELS", help="side of a tile (default: 640)")
    parser.add_argument(
        "--panorama_height", type=int, default=1024, metavar="PIXELS", help="half its width (default: 1024)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the rendered world (default: 0)")
    options = parser.parse_args(arguments)

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
