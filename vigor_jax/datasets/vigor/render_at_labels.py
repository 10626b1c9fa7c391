"""Renders images at the places of VIGOR's labels, in VIGOR's own folders and names.

What is written reads as VIGOR does: `splits/<City>` holds the published lines of the chosen tiles, unchanged, and
`<City>/satellite`, `<City>/panorama` the images. So everything from the builder on is exercised with true names,
positions, offsets and counts of semi-positives, without VIGOR's images.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import logging
from tqdm import tqdm

from vigor_jax import geometry
from vigor_jax.datasets import image_codec
from vigor_jax.datasets.ordered_pool import map_in_order
from vigor_jax.datasets.rendered_city import render_panoramas, render_tiles
from vigor_jax.datasets.rendered_city.city import make_city
from vigor_jax.datasets.rendered_city.rendered_city_dataset_builder import render_many, renderer_version
from vigor_jax.datasets.vigor import label_archive, labels
from vigor_jax.datasets.vigor.image_folders import RENDERED_FILE
from vigor_jax.errors import UserError


def render(
    labels_at: Path,
    root: Path,
    *,
    cities: Sequence[str],
    tiles: int = 300,
    tile_size: int = 640,
    panorama_height: int = 1024,
    seed: int = 0,
) -> None:
    """Renders a block of tiles of each city and the panoramas whose four references lie in it.

    Starting again goes on where it stopped: whole images are kept. A city's label files are written last, so a city
    that is not complete is not read as one.

    Args:
      labels_at: the label files, as a folder that holds `splits__corrected` or `splits`, or as a tar archive of it.
      root: where to write.
      cities: names; each needs panorama labels.
      tiles: how many a city; all of them if it has fewer.
      tile_size: pixels, side of a tile.
      panorama_height: pixels; panoramas are twice as wide.
      seed: of the rendered world.

    Raises:
      UserError: labels missing or wrong, or the root holds other images.
    """
    if tiles < 1 or tile_size < 32 or panorama_height < 32:
        raise UserError("--tiles must be at least 1, --tile_size and --panorama_height at least 32 pixels.")
    with tempfile.TemporaryDirectory() as scratch:
        source = _label_root(labels_at, Path(scratch))
        chosen = [_choose(source, city, tiles) for city in cities]
        for city, block in zip(cities, chosen, strict=True):
            _render_city(source, root, city, block, tile_size, panorama_height, seed)


def choose_block(city: labels.CityLabels, tiles: int) -> tuple[np.ndarray, np.ndarray]:
    """The tiles of a compact block where panoramas are densest, and the panoramas that lie wholly in it.

    Returns:
      Ascending rows of the tiles and of the panoramas; all four references of the latter are among the former.
    """
    tile_at = np.stack(geometry.mercator_pixel(city.tile_lat, city.tile_lon), axis=-1)
    panorama_at = np.stack(geometry.mercator_pixel(city.panorama_lat, city.panorama_lon), axis=-1)
    # Tiles lie half a tile apart, so a square block of n tiles has this side.
    half_side = np.sqrt(tiles) * geometry.TILE_PX / 4
    cells = np.floor(panorama_at / (geometry.TILE_PX / 2)).astype(np.int64)
    cells -= cells.min(axis=0)
    counts = np.zeros(cells.max(axis=0) + 2, np.int64)
    np.add.at(counts, (cells[:, 0] + 1, cells[:, 1] + 1), 1)
    below = counts.cumsum(0).cumsum(1)  # below[i, j]: panoramas in the cells before i and j
    reach = int(half_side // (geometry.TILE_PX / 2))
    low = np.maximum(cells - reach, 0)
    high = np.minimum(cells + reach + 1, np.array(below.shape) - 1)
    within = (
        below[high[:, 0], high[:, 1]]
        - below[low[:, 0], high[:, 1]]
        - below[high[:, 0], low[:, 1]]
        + below[low[:, 0], low[:, 1]]
    )
    centre = panorama_at[int(within.argmax())]
    distance = np.abs(tile_at - centre).max(axis=1)
    tile_rows = np.sort(np.argsort(distance, kind="stable")[:tiles])
    panorama_rows = np.flatnonzero(np.isin(city.references, tile_rows).all(axis=1))
    return tile_rows, panorama_rows


def _label_root(labels_at: Path, scratch: Path) -> Path:
    """The folder that holds the splits, extracted if need be."""
    if labels_at.is_file():
        label_archive.extract(labels_at, scratch)
        labels_at = scratch
    for candidate in (labels_at, *sorted(path for path in labels_at.glob("*") if path.is_dir())):
        if labels.find_cities(candidate):
            return candidate
    raise UserError(f"--labels={labels_at}: no splits/<City>/{labels.TILE_LIST} or splits__corrected/<City>/... in it.")


def _choose(source: Path, city: str, tiles: int) -> tuple[labels.CityLabels, labels.LabelSet, np.ndarray, np.ndarray]:
    corrected = labels.find_file(source, city, labels.list_name(labels.TRAIN, "corrected"))
    label_set: labels.LabelSet = "corrected" if corrected else "original"
    read = labels.read_city(source, city, label_set)
    tile_rows, panorama_rows = choose_block(read, tiles)
    if not len(panorama_rows):
        raise UserError(f"no panorama of {city} has its four references among {tiles} tiles: ask for more --tiles.")
    return read, label_set, tile_rows, panorama_rows


def _render_city(
    source: Path,
    root: Path,
    city: str,
    block: tuple[labels.CityLabels, labels.LabelSet, np.ndarray, np.ndarray],
    tile_size: int,
    panorama_height: int,
    seed: int,
) -> None:
    read, label_set, tile_rows, panorama_rows = block
    folder = root / city
    settings = {
        "city": city,
        "seed": seed,
        "tiles": len(tile_rows),
        "tile_size": tile_size,
        "panorama_height": panorama_height,
        "renderer": renderer_version(),
    }
    _claim(folder, settings)
    tile_lat, tile_lon = read.tile_lat[tile_rows], read.tile_lon[tile_rows]
    pano_lat, pano_lon = read.panorama_lat[panorama_rows], read.panorama_lon[panorama_rows]
    # Every panorama was taken on a street, so the world must have one there.
    cameras = np.stack([pano_lat, pano_lon], axis=-1)
    world = make_city(city, seed, origin=(float(tile_lat.mean()), float(tile_lon.mean())), cameras=cameras)
    size = (panorama_height, 2 * panorama_height)
    _write_images(
        [folder / "satellite" / read.tile_names[row] for row in tile_rows],
        lambda lat, lon: render_tiles(world, lat, lon, tile_size),
        (tile_lat, tile_lon),
        (tile_size, tile_size),
        image_codec.encode_png,
        f"Rendering {city}, tiles",
    )
    _write_images(
        [folder / "panorama" / read.panorama_names[row] for row in panorama_rows],
        lambda lat, lon: render_panoramas(world, lat, lon, size),
        (pano_lat, pano_lon),
        size,
        image_codec.encode_jpeg,
        f"Rendering {city}, panoramas",
    )
    _write_labels(source, root, read, label_set, tile_rows, panorama_rows)
    logging.info("%s: %d tiles, %d panoramas in %s", city, len(tile_rows), len(panorama_rows), folder)


def _claim(folder: Path, settings: dict[str, object]) -> None:
    """Makes the folder this rendering's own, or makes sure that it is: half of one world fits no other."""
    path = folder / RENDERED_FILE
    if path.exists():
        try:
            found = json.loads(path.read_bytes())
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}). Choose another --root, or delete the folder.") from error
        if not isinstance(found, dict):
            raise UserError(f"{path} does not hold the settings of a rendering. Choose another --root.")
        if found != settings:
            changed = [f"{key}: {found.get(key)} there, {value} now" for key, value in settings.items()]
            changed = [line for line, key in zip(changed, settings, strict=True) if found.get(key) != settings[key]]
            raise UserError(
                f"{folder} was rendered with other settings ({'; '.join(changed)}). Choose another --root, or delete "
                "the folder."
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} holds files that were not rendered here. Choose another --root.")
    folder.mkdir(parents=True, exist_ok=True)
    _write(path, json.dumps(settings, indent=2).encode())


def _write_images(
    paths: list[Path],
    render_at: Callable[[np.ndarray, np.ndarray], np.ndarray],
    positions: tuple[np.ndarray, np.ndarray],
    size: tuple[int, int],
    encode: Callable[[np.ndarray], bytes],
    title: str,
) -> None:
    paths[0].parent.mkdir(exist_ok=True)
    todo = np.array([row for row, path in enumerate(paths) if not _is_whole(path, size)], np.int64)
    # Neighbours after each other: the renderer keeps the tables of the few square kilometres it drew last.
    todo = todo[np.lexsort(np.floor(np.stack(positions)[:, todo] * 100))]
    images = render_many(render_at, positions[0][todo], positions[1][todo], 3 * size[0] * size[1])

    def store(item: tuple[Path, np.ndarray]) -> None:
        _write(item[0], encode(item[1]))

    items: Iterator[tuple[Path, np.ndarray]] = zip((paths[row] for row in todo), images, strict=True)
    written = map_in_order(store, items)
    for _ in tqdm(written, title, total=len(paths), initial=len(paths) - len(todo), unit="image"):
        pass


def _is_whole(path: Path, size: tuple[int, int]) -> bool:
    try:
        return path.exists() and image_codec.read_size(path) == size
    except image_codec.ImageError:
        return False


def _write_labels(
    source: Path,
    root: Path,
    read: labels.CityLabels,
    label_set: labels.LabelSet,
    tile_rows: np.ndarray,
    panorama_rows: np.ndarray,
) -> None:
    """The published lines of what was rendered; the tile list, by which a city is found, comes last."""
    folder = root / "splits" / read.city
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {read.panorama_names[row] for row in panorama_rows}
    for kind in (labels.TRAIN, labels.TEST, labels.ALL):
        name = labels.list_name(kind, label_set)
        published = labels.find_file(source, read.city, name)
        if published is None:
            continue
        lines = [line for line in published.read_text(encoding="utf-8").splitlines() if line.split(" ")[0] in chosen]
        _write(folder / name, "".join(f"{line}\n" for line in lines).encode())
    _write(folder / labels.TILE_LIST, "".join(f"{read.tile_names[row]}\n" for row in tile_rows).encode())


def _write(path: Path, data: bytes) -> None:
    """Writes a file that is whole or not there."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)
