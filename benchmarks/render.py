"""Images rendered a second, of both views at 80 and 320 px: one JSON line a figure.

    python benchmarks/render.py [--sizes 80 320] [--seconds 5] [--small]

The first call of each shape compiles and is reported apart; the figure is the rate of the calls that follow, with
the images brought to the host as the data set builder does it.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from figures import emit

from vigor_jax.datasets.rendered_city import lay_out, make_city, render_panoramas, render_tiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[80, 320], help="side of a tile in pixels")
    parser.add_argument("--seconds", type=float, default=5.0, help="least time measured for each figure")
    parser.add_argument("--small", action="store_true", help="32 px, whatever the other flags say")
    args = parser.parse_args()
    if args.small:
        args.sizes, args.seconds = [32], 1.0
    city = make_city("Ashford", 0)
    layout = lay_out(city, 18)
    for size in args.sizes:
        count = max(4, 64 * 80 * 80 // (size * size))
        # Images of one call, wherever they lie in the city.
        tiles = np.linspace(0, len(layout.tile_lat) - 1, count).astype(int)
        cameras = np.linspace(0, len(layout.panorama_lat) - 1, count).astype(int)
        tile_at = (layout.tile_lat[tiles], layout.tile_lon[tiles])
        camera_at = (layout.panorama_lat[cameras], layout.panorama_lon[cameras])
        _measure("aerial", [size, size], count, args.seconds, lambda at=tile_at, s=size: render_tiles(city, *at, s))
        _measure(
            "ground",
            [size, 2 * size],
            count,
            args.seconds,
            lambda at=camera_at, s=size: render_panoramas(city, *at, (s, 2 * s)),
        )


def _measure(view: str, size: list[int], count: int, seconds: float, render: Callable[[], np.ndarray]) -> None:
    begin = time.perf_counter()
    render()
    first = time.perf_counter() - begin
    calls, begin = 0, time.perf_counter()
    while calls == 0 or time.perf_counter() - begin < seconds:
        render()
        calls += 1
    rate = calls * count / (time.perf_counter() - begin)
    emit(
        f"render/{view}/{size[0]}",
        images_per_second=rate,
        limit=None,
        limit_is="not known: marching through the city branches too much to count",
        peer=None,
        peer_is="nothing else renders this city",
        height_width=size,
        images_per_call=count,
        first_call_s=first,
    )


if __name__ == "__main__":
    main()
