"""Prepares VIGOR from the files its authors hand out."""

import dataclasses
import functools
import glob
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from absl import logging

from vigor_jax.config import DataConfig
from vigor_jax.datasets import cross_view_builder, image_codec
from vigor_jax.datasets.city_table import CityTable
from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.datasets.cross_view_builder import CityConfig, CrossViewBuilder, View
from vigor_jax.datasets.vigor import labels, pictures
from vigor_jax.datasets.vigor.image_folders import ImageFolders, MissingImages
from vigor_jax.errors import UserError

HOW_TO_GET = """\
VIGOR is given to researchers on request: its authors' repository, https://github.com/Jeff-Zilence/VIGOR, says how to
ask for it. Extract it so that the root holds
    splits/<City>/satellite_list.txt, same_area_balanced_train.txt, same_area_balanced_test.txt
    <City>/satellite/*.png and <City>/panorama/*.jpg   (or satellite/<City> and ground/<City>)
with <City> in Chicago, NewYork, SanFrancisco, Seattle, and name the root with --config.data.root=... . The corrected
labels (https://github.com/tudelft-iv/SliceMatch) may lie beside them as splits__corrected/<City>/*__corrected.txt.
"""
_WITHOUT_DATA = """\
Without VIGOR, train on the rendered city, which needs no download:
    python main.py --config=configs/demo.py
    python main.py --config=configs/cross_area.py:rendered
"""
_SAMPLED_FILES = 32

# Offsets from the positions in the file names are the same whichever set names the files.
LabelChoice = labels.LabelSet | Literal["either"]


class NoData(UserError):
    """There is nothing of VIGOR where it was looked for."""


@dataclasses.dataclass(kw_only=True)
class VigorConfig(CityConfig):
    """One city of VIGOR, from one root."""

    root: str
    labels: LabelChoice
    offsets: labels.Offsets


class Builder(CrossViewBuilder):
    """One city of VIGOR: a tile is `<City>/satellite/satellite_<lat>_<lon>.png`, a panorama `<id>,<lat>,<lon>,.jpg`."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = HOW_TO_GET
    builder_config: VigorConfig

    def make_table(self) -> CityTable:
        """The tables of the label files, all of whose images are on disk."""
        config = self.builder_config
        table = _read_table(Path(config.root), config.city, config.labels, config.offsets)
        folders = ImageFolders.find(Path(config.root), config.city)
        folders.require("aerial", table.tile_names)
        folders.require("ground", table.panorama_names)
        return table

    def pictures(self, view: View, table: CityTable) -> Iterator[Callable[[], image_codec.Image]]:
        """Reads and decodes the files."""
        folder = ImageFolders.find(Path(self.builder_config.root), self.builder_config.city).folder(view)
        names = table.tile_names if view == "aerial" else table.panorama_names
        return (functools.partial(_read_picture, folder / name, view) for name in names)


def load(config: DataConfig, cities: Sequence[str], *, verify: bool = False) -> CrossViewData:
    """Reads some cities of a config, having prepared those that are not yet.

    A city once prepared is read without its raw files. While they are there, its tables and a sample of its images'
    sizes are compared, so that another root or changed labels are prepared anew, into a folder of their own.

    Args:
      config: names the root, and which cities train and which test.
      cities: to read.
      verify: read all that is prepared already, and compare it with what was written.

    Raises:
      NoData: nothing of VIGOR at the root, and the cities are not prepared either.
      UserError: a label file, an image or a city is missing or damaged.
    """
    builders = [_builder(config, city) for city in cities]
    data = cross_view_builder.load(builders, "vigor", verify=verify)
    if "same_area" in config.protocols:
        tested = config.same_area_cities or config.train_cities
        for index, city in enumerate(data.cities):
            if city in tested and not data.panoramas.same_area_test[data.panoramas.city == index].any():
                names = labels.list_name
                found = _label_set(Path(config.root), city, config.labels)
                raise labels.LabelError(
                    f"{city} has only {names(labels.ALL, found)}: the same-area protocol needs "
                    f"{names(labels.TRAIN, found)} and {names(labels.TEST, found)}. Add them, or set "
                    "--config.data.protocols=\"('cross_area',)\"."
                )
    return data


def _builder(config: DataConfig, city: str) -> Builder:
    root = Path(config.root)
    stem = "-".join([city, cross_view_builder.size_name(config), config.labels, config.offsets])

    def make(name: str) -> Builder:
        return Builder(
            data_dir=config.data_dir,
            config=VigorConfig(
                name=name,
                city=city,
                aerial_size=config.aerial_size,
                ground_size=config.ground_size,
                root=str(root),
                labels=config.labels,
                offsets=config.offsets,
            ),
        )

    absent = _what_is_absent(config, city)
    if absent is None:
        return make(f"{stem}-{_source(config, city)}")
    prepared = sorted(
        path.parent.name
        for path in Path(config.data_dir).glob(f"{Builder.name}/{glob.escape(stem)}-*/{Builder.VERSION}")
    )
    if not prepared:
        raise absent
    if len(prepared) > 1:
        raise UserError(
            f"{city} is prepared from {len(prepared)} different sources in {config.data_dir}: {', '.join(prepared)}; "
            f"the raw data that would tell which is meant is not at --config.data.root={config.root}. Name the root, "
            "or delete all but one."
        )
    logging.info("%s: read as prepared before; its raw data is not at %s", city, root)
    return make(prepared[0])


def _source(config: DataConfig, city: str) -> str:
    """Eight digits that tell apart the tables and images of different roots or label releases."""
    table = _read_table(Path(config.root), city, config.labels, config.offsets)
    sha = hashlib.sha256(table.digest().encode())
    folders = ImageFolders.find(Path(config.root), city)
    for view, names in (("aerial", table.tile_names), ("ground", table.panorama_names)):
        for row in np.linspace(0, len(names) - 1, _SAMPLED_FILES).astype(int):
            path = folders.folder(view) / names[row]
            if not path.is_file():
                folders.require(view, names)
            sha.update(f"{names[row]} {path.stat().st_size}\n".encode())
    return sha.hexdigest()[:8]


def _read_table(root: Path, city: str, choice: LabelChoice, offsets: labels.Offsets) -> CityTable:
    return labels.read_city(root, city, _label_set(root, city, choice)).table(offsets)


def _label_set(root: Path, city: str, choice: LabelChoice) -> labels.LabelSet:
    return labels.label_set_there(root, city) if choice == "either" else choice


def _what_is_absent(config: DataConfig, city: str) -> UserError | None:
    """The error about a city's raw data that is not there at all; None if it is, be it sound or not."""
    root = Path(config.root)
    if labels.find_file(root, city, labels.TILE_LIST):
        try:
            ImageFolders.find(root, city)
        except MissingImages as error:
            return error
        return None
    cities = labels.find_cities(root)
    if not cities:
        looked = ", ".join(str((root / folder).absolute()) for folder in labels.FOLDERS)
        return NoData(
            f"no VIGOR data at --config.data.root={config.root!r}: looked for label files in {looked}, and for "
            f"prepared data in {Path(config.data_dir).absolute()}.\n\n{HOW_TO_GET}\n{_WITHOUT_DATA}"
        )
    flag = "train_cities" if city in config.train_cities else "test_cities"
    return UserError(
        f"there is no city {city!r} at {root.absolute()}. Cities found there: {', '.join(cities)}. Set "
        f"--config.data.{flag}=\"('{cities[0]}',)\" or whichever of them you want."
    )


def _read_picture(path: Path, view: View) -> image_codec.Image:
    try:
        return pictures.read(path, view)
    except image_codec.ImageError as error:
        raise image_codec.ImageError(
            f"{error} `vigor-jax check --root=... --images=full` lists every such file."
        ) from error
