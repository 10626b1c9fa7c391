"""The TFDS builder that data sets of labelled images derive from.

Photos are decoded, scaled down until their shorter side has the size asked for, whole and in their own proportions, and
written as JPEG in the order of the table. One builder prepares one part of a data set, of at most 65,536 photos: an
interruption costs one part.
"""

import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from jaxtyping import Int32

from vigor_jax.datasets import image_codec, image_header, photo, prepared_files
from vigor_jax.datasets.image_table import ImageTable
from vigor_jax.datasets.photo_source import PhotoSource
from vigor_jax.datasets.prepared_builder import TABLES_FILE, PreparedBuilder, Shards
from vigor_jax.errors import UserError

SIZES_FILE = "sizes.npy"
SPLIT = "images"
PHOTOS_A_PART = 1 << 16


@dataclasses.dataclass(kw_only=True)
class PartConfig(tfds.core.BuilderConfig):
    """One part of a data set, prepared one way. The name tells apart everything that decides the prepared bytes."""

    side: int  # pixels that a longer shorter side is scaled to; 0: all as they are
    part: int  # counted from 1
    parts: int


class LabelledBuilder(PreparedBuilder, skip_registration=True):
    """Labelled images (split `images`, row i is row i of the table)."""

    # Counts changes of the preparation itself (codec, resize, quality, tables), which make prepared data stale.
    VERSION = tfds.core.Version("1.1.0")
    builder_config: PartConfig

    def __init__(
        self,
        *,
        data_dir: str | os.PathLike[str],
        config: PartConfig,
        source: PhotoSource | None = None,
        **others: Any,
    ):
        """Names a part; `source` is needed to prepare it, not to read it."""
        self._source = source
        self._sizes: list[tuple[int, int]] = []
        self._converted: list[str] = []
        super().__init__(data_dir=data_dir, config=config, **others)

    @property
    def title(self) -> str:
        """The data set and its part."""
        config = self.builder_config
        return self.name if config.parts == 1 else f"{self.name} {config.part}/{config.parts}"

    @property
    def rows(self) -> slice:
        """Of the whole data set's table, that this part holds."""
        start = (self.builder_config.part - 1) * PHOTOS_A_PART
        return slice(start, start + PHOTOS_A_PART)

    def table(self) -> ImageTable:
        """The prepared table of this part."""
        return ImageTable.read(self.data_path / TABLES_FILE)

    def sizes(self) -> Int32[np.ndarray, "images 2"]:
        """Height and width of this part's prepared images.

        Raises:
          PreparedDataError: they are not as they were prepared.
        """
        try:
            sizes = np.load(self.data_path / SIZES_FILE, allow_pickle=False)
        except (OSError, ValueError, EOFError, MemoryError) as error:
            raise prepared_files.changed(Path(self.data_path), f"{SIZES_FILE} cannot be read ({error})") from error
        if sizes.dtype != np.int32 or sizes.ndim != 2 or sizes.shape[1] != 2:
            raise prepared_files.changed(Path(self.data_path), f"{SIZES_FILE} holds something else")
        return sizes

    def make_shards(self, folder: Path) -> Mapping[str, Shards]:
        """All photos of the part in one split."""
        if self._source is None:
            raise UserError(
                f"{self.title} is not prepared in {self.data_path}, and there is no raw data to do it from."
            )
        table = self._source.table.part(self.rows)
        table.save(folder / TABLES_FILE)
        rows = len(table.names)
        self._sizes, self._converted = [(0, 0)] * rows, []
        encoders = (functools.partial(self._encode, row) for row in range(rows))
        return {SPLIT: self.shards_of(SPLIT, rows, encoders)}

    def finish(self, folder: Path) -> None:
        """Writes the sizes down, which are known now."""
        np.save(folder / SIZES_FILE, np.array(self._sizes, np.int32).reshape(-1, 2))
        for what, count in Counter(self._converted).most_common():
            logging.info("%s: %d photos were %s and are upright RGB now", self.title, count, what)

    def _encode(self, row: int) -> bytes:
        """The prepared JPEG of a photo of this part."""
        whole = self.rows.start + row
        try:
            data = self._source.read(whole)
            decoded = photo.decode(data, self._source.name_of(whole))
        except image_codec.ImageError as error:
            raise image_codec.ImageError(
                f"{error} `vigor-jax check --data={self.name} --root=...` lists every such file."
            ) from error
        size = scaled(decoded.image.shape[:2], self.builder_config.side)
        self._sizes[row] = size
        self._converted += decoded.converted
        if size == decoded.image.shape[:2] and not decoded.converted and data.startswith(image_header.JPEG_START):
            return data  # encoding it again would change its pixels for nothing
        return image_codec.encode_jpeg(image_codec.resize(decoded.image, size))


def scaled(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(height, width) of an image whose shorter side is scaled down to `side` pixels and the longer one in proportion.

    Smaller images keep their size, and all do if `side` is 0.
    """
    if side == 0 or min(size) <= side:
        return size
    return image_codec.with_shorter_side(size, side)
