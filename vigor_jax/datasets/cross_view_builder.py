"""The TFDS builder every cross-view data set derives from, and reading what it prepared.

One builder prepares one city, so that a city is prepared once whatever protocols it takes part in, and an
interruption costs one city. Images are resized once and written in the order of the city's tables.
"""

import abc
import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow_datasets as tfds

from vigor_jax.config import DataConfig
from vigor_jax.datasets import image_codec, prepared_files
from vigor_jax.datasets.city_table import CityTable
from vigor_jax.datasets.cross_view import CrossViewData, Panoramas, Tiles
from vigor_jax.datasets.prepared_builder import TABLES_FILE, PreparedBuilder, Shards
from vigor_jax.datasets.stored_images import JoinedImages
from vigor_jax.errors import UserError

View = Literal["aerial", "ground"]
VIEWS: tuple[View, ...] = ("aerial", "ground")


@dataclasses.dataclass(kw_only=True)
class CityConfig(tfds.core.BuilderConfig):
    """One city, prepared one way. Everything that decides the prepared bytes must be told apart by the name."""

    city: str
    aerial_size: tuple[int, int]  # height, width in pixels
    ground_size: tuple[int, int]


def size_name(config: DataConfig) -> str:
    """How the two image sizes appear in a builder config's name, e.g. 320x320-320x640."""
    return "-".join(f"{height}x{width}" for height, width in (config.aerial_size, config.ground_size))


class CrossViewBuilder(PreparedBuilder, skip_registration=True):
    """Aerial tiles (split `aerial`, row i is tile i) and street panoramas (`ground`, row i is panorama i) of a city."""

    # Counts changes of the preparation itself (codec, resize, quality), which make prepared data stale.
    VERSION = tfds.core.Version("1.0.0")
    builder_config: CityConfig

    @property
    def title(self) -> str:
        """The city."""
        return self.builder_config.city

    @abc.abstractmethod
    def make_table(self) -> CityTable:
        """The city's tables, in the order of the records."""

    @abc.abstractmethod
    def pictures(self, view: View, table: CityTable) -> Iterable[Callable[[], image_codec.Image]]:
        """For each row of a view, in order, a function that makes its picture; called on another thread."""

    def table(self) -> CityTable:
        """The prepared tables."""
        return CityTable.read(self.data_path / TABLES_FILE)

    def make_shards(self, folder: Path) -> Mapping[str, Shards]:
        """The two views."""
        table = self.make_table()
        table.save(folder / TABLES_FILE)
        rows = {"aerial": len(table.tile_lat), "ground": len(table.panorama_lat)}
        return {view: self.shards_of(view, rows[view], self._encoders(view, table)) for view in VIEWS}

    def _encoders(self, view: View, table: CityTable) -> Iterator[Callable[[], bytes]]:
        size = self.builder_config.aerial_size if view == "aerial" else self.builder_config.ground_size
        return (functools.partial(_encode, make, size) for make in self.pictures(view, table))


def load(builders: Sequence[CrossViewBuilder], name: str, *, verify: bool = False) -> CrossViewData:
    """Prepares the cities that are not yet, and reads all of them as one data set.

    Args:
      builders: one a city; their order is that of `CrossViewData.cities`, tiles and panoramas.
      name: of the data set.
      verify: read all that is prepared already, and compare it with what was written.

    Raises:
      UserError: of the preparation; prepared data was changed; or two cities have a panorama in common.
    """
    for builder in builders:
        builder.prepare(verify=verify)
    tables = [builder.table() for builder in builders]
    images = {view: [builder.images(view) for builder in builders] for view in VIEWS}
    for builder, table, *stored in zip(builders, tables, *images.values(), strict=True):
        rows = (len(table.tile_lat), len(table.panorama_lat))
        for view, found, expected in zip(VIEWS, map(len, stored), rows, strict=True):
            if found != expected:
                what = f"it holds {found:,} {view} images, and its tables name {expected:,}"
                raise prepared_files.changed(Path(builder.data_path), what)
    _require_distinct(builders, tables)
    tile_counts = [len(table.tile_lat) for table in tables]
    panorama_counts = [len(table.panorama_lat) for table in tables]
    first_tile = np.cumsum([0, *tile_counts[:-1]])
    cities = np.arange(len(tables))
    fingerprint = hashlib.sha256()
    for builder, table in zip(builders, tables, strict=True):
        fingerprint.update(f"{name}/{builder.builder_config.name}/{builder.version} {table.digest()}\n".encode())

    def joined(key: str) -> np.ndarray:
        return np.concatenate([getattr(table, key) for table in tables])

    return CrossViewData(
        name=name,
        cities=tuple(builder.builder_config.city for builder in builders),
        tiles=Tiles(
            names=tuple(itertools.chain.from_iterable(table.tile_names for table in tables)),
            lat=joined("tile_lat"),
            lon=joined("tile_lon"),
            city=np.repeat(cities, tile_counts).astype(np.int32),
        ),
        panoramas=Panoramas(
            names=tuple(itertools.chain.from_iterable(table.panorama_names for table in tables)),
            lat=joined("panorama_lat"),
            lon=joined("panorama_lon"),
            city=np.repeat(cities, panorama_counts).astype(np.int32),
            references=(joined("references") + np.repeat(first_tile, panorama_counts)[:, None]).astype(np.int32),
            offset_px=joined("offset_px"),
            same_area_test=joined("same_area_test"),
        ),
        aerial=JoinedImages(images["aerial"]),
        ground=JoinedImages(images["ground"]),
        fingerprint=fingerprint.hexdigest(),
    )


def _require_distinct(builders: Sequence[CrossViewBuilder], tables: Sequence[CityTable]) -> None:
    """Refuses a panorama of two cities, which would be trained on in one and tested in the other."""
    city_of: dict[str, str] = {}
    for builder, table in zip(builders, tables, strict=True):
        city = builder.builder_config.city
        twice = [name for name in table.panorama_names if name in city_of]
        if twice:
            raise UserError(
                f"{len(twice):,} panoramas are in {city} and in {city_of[twice[0]]} as well, the first {twice[0]}: one "
                "would be trained on and tested. Take one of the two cities out of config.data.train_cities and "
                "config.data.test_cities, or remove these lines from its labels."
            )
        city_of |= dict.fromkeys(table.panorama_names, city)


def _encode(make: Callable[[], image_codec.Image], size: tuple[int, int]) -> bytes:
    return image_codec.encode_jpeg(image_codec.resize(make(), size))
