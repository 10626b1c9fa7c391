"""The TFDS builder that all prepared data sets derive from: a folder of records that is complete or not there.

Images are written as JPEG in the order of tables, which lie beside the records. TFDS writes into a folder of another
name and renames it at the end: what is there is complete. TensorFlow is never imported.
"""

import abc
import functools
import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from google.protobuf import json_format
from tqdm import tqdm

from vigor_jax import console
from vigor_jax.datasets import prepared_files
from vigor_jax.datasets.cross_view import EncodedImages
from vigor_jax.datasets.ordered_pool import map_in_order
from vigor_jax.datasets.stored_images import RecordImages

TABLES_FILE = "tables.npz"
IMAGES_PER_SHARD = 1024  # TFDS holds one shard in memory while writing it

# One generator of (key, example) a shard; TFDS runs them in order.
Shards = Sequence[Callable[[], Iterator[Any]]]


# Not GeneratorBasedBuilder: it needs TensorFlow as soon as a split exceeds 1 GB.
class PreparedBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Prepares one folder: splits of images, and tables whose rows are in the order of the images."""

    def __init__(self, *, data_dir: str | os.PathLike[str], config: tfds.core.BuilderConfig, **others: Any):
        try:
            super().__init__(data_dir=data_dir, config=config, **others)
        except (json_format.ParseError, AssertionError, UnicodeDecodeError) as error:
            folder = Path(data_dir) / self.name / config.name / str(self.VERSION)
            raise prepared_files.changed(folder, f"dataset_info.json cannot be read ({error})") from error

    @property
    @abc.abstractmethod
    def title(self) -> str:
        """What is prepared, for people."""

    @abc.abstractmethod
    def make_shards(self, folder: Path) -> Mapping[str, Shards]:
        """The shards of every split, by `shards_of`; has written the tables into the folder, or does in `finish`."""

    def finish(self, folder: Path) -> None:
        """Called when all images are written, before the folder is sealed."""

    def prepare(self, *, verify: bool = False) -> None:
        """Prepares the folder unless that is done.

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
        logging.info("preparing %s in %s", self.title, self.data_path)
        try:
            # TFDS makes download folders whether there is something to download or not.
            with tempfile.TemporaryDirectory() as nothing:
                self.download_and_prepare(file_format="array_record", download_dir=nothing)
        except OSError:
            # Another process finished the same folder first, and a folder cannot be renamed onto its.
            if not self.data_path.exists():
                raise

    def images(self, split: str) -> EncodedImages:
        """The prepared JPEG files of a split; random access from any thread.

        Raises:
          PreparedDataError: the records cannot be opened.
        """
        folder = Path(self.data_path)
        try:
            source = self.as_data_source(split=split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
        except (NotImplementedError, KeyError, ValueError, OSError) as error:
            raise prepared_files.changed(folder, f"its {split} images cannot be opened ({error})") from error
        return RecordImages(source, folder)

    def shards_of(self, split: str, rows: int, encode: Iterable[Callable[[], bytes]]) -> Shards:
        """One generator a shard, all drawing from one stream, so that the pool of threads never runs dry between.

        Args:
          split: for people.
          rows: images of the split.
          encode: for each row, in order, a function that gives its JPEG file; called on another thread.
        """
        ends = np.linspace(0, rows, -(-rows // IMAGES_PER_SHARD) + 1).round().astype(int)
        stream = self._examples(split, rows, encode)
        shards = [functools.partial(itertools.islice, stream, int(n)) for n in np.diff(ends)[:-1]]
        return [*shards, functools.partial(iter, stream)]  # the last one runs the stream to its end

    def _examples(
        self, split: str, rows: int, encode: Iterable[Callable[[], bytes]]
    ) -> Iterator[tuple[int, dict[str, bytes]]]:
        done = -1
        with tqdm(
            total=rows,
            desc=f"Preparing {self.title}, {split} images",
            unit="image",
            mininterval=0.2 if sys.stderr.isatty() else 30,  # a log file gets a line now and then
            disable=console.is_quiet(),
        ) as bar:
            for done, data in enumerate(map_in_order(lambda make: make(), encode)):
                yield done, {"image": data}
                bar.update()
        if done + 1 != rows:
            raise RuntimeError(f"{self.builder_config.name}: {done + 1} {split} pictures for {rows} rows")

    def _download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        super()._download_and_prepare(*args, **kwargs)
        # Still in the folder of another name: a complete one always has its record.
        self.finish(Path(self.data_path))
        prepared_files.record(Path(self.data_path))

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(None, None, 3), dtype=np.uint8, encoding_format="jpeg")
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{self.__class__.__doc__} Tables in {TABLES_FILE}.",
            features=tfds.features.FeaturesDict({"image": image}),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(self, dl_manager: Any) -> Mapping[str, Shards]:
        del dl_manager  # nothing is downloaded
        return self.make_shards(Path(self.data_path))

    # What TFDS would tell the user: that a config of our own making is not on its list, and sizes of a download.
    def _create_builder_config(
        self, builder_config: tfds.core.BuilderConfig, *args: Any, **kwargs: Any
    ) -> tfds.core.BuilderConfig:
        return builder_config

    def _log_download_bytes(self) -> None:
        pass

    def _log_download_done(self) -> None:
        pass
