"""The TFDS builder every cross-view data set derives from, and reading what it prepared.

One builder prepares one city, so that a city is prepared once whatever protocols it takes part in, and an
interruption costs one city. Images are resized once and written as JPEG in the order of the city's tables, which lie
beside the records. TFDS writes into a folder of another name and renames it at the end: what is there is complete.
"""

import abc
import bisect
import dataclasses
import functools
import hashlib
import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, SupportsIndex

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2
from tqdm import tqdm

from vigor_jax import console
from vigor_jax.config import DataConfig
from vigor_jax.datasets import image_codec, prepared_files
from vigor_jax.datasets.city_table import CityTable
from vigor_jax.datasets.cross_view import CrossViewData, EncodedImages, Panoramas, Tiles
from vigor_jax.datasets.ordered_pool import map_in_order
from vigor_jax.errors import UserError

View = Literal["aerial", "ground"]
VIEWS: tuple[View, ...] = ("aerial", "ground")
TABLES_FILE = "tables.npz"
_IMAGES_PER_SHARD = 1024  # TFDS holds one shard in memory while writing it


@dataclasses.dataclass(kw_only=True)
class CityConfig(tfds.core.BuilderConfig):
    """One city, prepared one way. Everything that decides the prepared bytes must be told apart by the name."""

    city: str
    aerial_size: tuple[int, int]  # height, width in pixels
    ground_size: tuple[int, int]


def size_name(config: DataConfig) -> str:
    """How the two image sizes appear in a builder config's name, e.g. 320x320-320x640."""
    return "-".join(f"{height}x{width}" for height, width in (config.aerial_size, config.ground_size))


# Not GeneratorBasedBuilder: it needs TensorFlow as soon as a split exceeds 1 GB.
class CrossViewBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Prepares one city with the splits `aerial` (row i is tile i) and `ground` (row i is panorama i)."""

    # Counts changes of the preparation itself (codec, resize, quality), which make prepared data stale.
    VERSION = tfds.core.Version("1.0.0")
    builder_config: CityConfig

    def __init__(self, *, data_dir: str | os.PathLike[str], config: CityConfig, **others: Any):
        try:
            super().__init__(data_dir=data_dir, config=config, **others)
        except (json_format.ParseError, AssertionError, UnicodeDecodeError) as error:
            folder = Path(data_dir) / self.name / config.name / str(self.VERSION)
            raise prepared_files.changed(folder, f"dataset_info.json cannot be read ({error})") from error

    @abc.abstractmethod
    def make_table(self) -> CityTable:
        """The city's tables, in the order of the records."""

    @abc.abstractmethod
    def pictures(self, view: View, table: CityTable) -> Iterable[Callable[[], image_codec.Image]]:
        """For each row of a view, in order, a function that makes its picture; called on another thread."""

    def table(self) -> CityTable:
        """The prepared tables."""
        return CityTable.read(self.data_path / TABLES_FILE)

    def prepare(self, *, verify: bool = False) -> None:
        """Prepares the city unless that is done.

        Args:
          verify: read all of what is prepared already, and compare it with what was written; else its length alone.

        Raises:
          UserError: of the data set, e.g. `ImageError` for a truncated file; or a prepared folder is not as it was.
        """
        if self.data_path.exists():
            folder = Path(self.data_path)
            if not prepared_files.verify(folder, contents=verify):
                # Prepared before such records were kept: nothing to compare with but its parts.
                for name in (TABLES_FILE, "dataset_info.json"):
                    if not (folder / name).exists():
                        raise prepared_files.changed(folder, f"{name} is missing")
                logging.info("%s has no %s: changes to it go unnoticed", folder, prepared_files.FILE_NAME)
            return
        leftovers = sorted(str(path) for path in self.data_path.parent.glob(f"{self.data_path.name}.incomplete*"))
        if leftovers:
            logging.warning("an interrupted preparation left %s; nothing reads it, delete it", ", ".join(leftovers))
        logging.info("preparing %s in %s", self.builder_config.city, self.data_path)
        try:
            # TFDS makes download folders whether there is something to download or not.
            with tempfile.TemporaryDirectory() as nothing:
                self.download_and_prepare(file_format="array_record", download_dir=nothing)
        except OSError:
            # Another process finished the same city first, and a folder cannot be renamed onto its.
            if not self.data_path.exists():
                raise

    def images(self, view: View) -> EncodedImages:
        """The prepared JPEG files of a view; random access from any thread.

        Raises:
          PreparedDataError: the records cannot be opened.
        """
        folder = Path(self.data_path)
        try:
            source = self.as_data_source(split=view, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
        except (NotImplementedError, KeyError, ValueError, OSError) as error:
            raise prepared_files.changed(folder, f"its {view} images cannot be opened ({error})") from error
        return _Records(source, folder)

    def _download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        super()._download_and_prepare(*args, **kwargs)
        # Still in the folder of another name: a complete one always has its record.
        prepared_files.record(Path(self.data_path))

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(None, None, 3), dtype=np.uint8, encoding_format="jpeg")
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Aerial tiles and street panoramas; tables in {TABLES_FILE}.",
            features=tfds.features.FeaturesDict({"image": image}),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(self, dl_manager: Any) -> Mapping[str, Sequence[Callable[[], Iterator[Any]]]]:
        del dl_manager  # nothing is downloaded
        table = self.make_table()
        table.save(self.data_path / TABLES_FILE)
        return {"aerial": self._shards("aerial", table), "ground": self._shards("ground", table)}

    # What TFDS would tell the user: that a config of our own making is not on its list, and sizes of a download.
    def _create_builder_config(self, builder_config: CityConfig, *args: Any, **kwargs: Any) -> CityConfig:
        return builder_config

    def _log_download_bytes(self) -> None:
        pass

    def _log_download_done(self) -> None:
        pass

    def _shards(self, view: View, table: CityTable) -> list[Callable[[], Iterator[Any]]]:
        """One generator a shard, all drawing from one stream, so that the pool of threads never runs dry between."""
        rows = len(table.tile_lat if view == "aerial" else table.panorama_lat)
        ends = np.linspace(0, rows, -(-rows // _IMAGES_PER_SHARD) + 1).round().astype(int)
        stream = self._examples(view, table, rows)
        shards = [functools.partial(itertools.islice, stream, int(n)) for n in np.diff(ends)[:-1]]
        return [*shards, functools.partial(iter, stream)]  # the last one runs the stream to its end

    def _examples(self, view: View, table: CityTable, rows: int) -> Iterator[tuple[int, dict[str, bytes]]]:
        size = self.builder_config.aerial_size if view == "aerial" else self.builder_config.ground_size

        def encode(make: Callable[[], image_codec.Image]) -> bytes:
            return image_codec.encode_jpeg(image_codec.resize(make(), size))

        done = -1
        with tqdm(
            total=rows,
            desc=f"Preparing {self.builder_config.city}, {view} images",
            unit="image",
            mininterval=0.2 if sys.stderr.isatty() else 30,  # a log file gets a line now and then
            disable=console.is_quiet(),
        ) as bar:
            for done, data in enumerate(map_in_order(encode, self.pictures(view, table))):
                yield done, {"image": data}
                bar.update()
        if done + 1 != rows:
            raise RuntimeError(f"{self.builder_config.name}: {done + 1} {view} pictures for {rows} rows")


def cities_needed(config: DataConfig) -> tuple[str, ...]:
    """The cities that the config's protocols read, the training cities first."""
    test = config.test_cities if "cross_area" in config.protocols else ()
    return tuple(dict.fromkeys((*config.train_cities, *test)))


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
        aerial=_Joined(images["aerial"]),
        ground=_Joined(images["ground"]),
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


class _Records:
    """The encoded images of one split."""

    def __init__(self, source: Sequence, folder: Path):
        self._source = source
        self._folder = folder

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, row: SupportsIndex) -> bytes:
        try:
            # As TFDS would, but for a NumPy array around each feature that costs as much as all of the reading.
            example = tf_example_pb2.Example.FromString(self._source[row])
            return example.features.feature["image"].bytes_list.value[0]
        except (RuntimeError, DecodeError, IndexError) as error:  # of the reader, over a missing file or a checksum
            raise prepared_files.changed(self._folder, f"image {row} cannot be read ({error})") from error


class _Joined:
    """Several cities' images, one after the other."""

    def __init__(self, parts: Sequence[EncodedImages]):
        self._parts = parts
        self._ends = list(itertools.accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, row: SupportsIndex) -> bytes:
        row = row.__index__()
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} images")
        part = bisect.bisect_right(self._ends, row)
        return self._parts[part][row - (self._ends[part - 1] if part else 0)]
