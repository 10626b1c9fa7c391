"""Encoded images to batches of pixels, decoded by threads ahead of time and in order (Grain).

Memory: the threads are at most two batches ahead of the one being handed out, so a host holds three decoded batches
here, whatever the number of threads, plus those that `device_feed` has in flight.
"""

import dataclasses
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any

import grain
import numpy as np
from jaxtyping import Int, UInt8

from vigor_jax import geometry
from vigor_jax.datasets.cross_view import CrossViewData, EncodedImages
from vigor_jax.datasets.image_codec import ImageError, decode
from vigor_jax.input import augmentation, semi_positives

_BATCHES_AHEAD = 2


class _Decoder:
    """Decodes images of one data set, all of which must have the size of a first one."""

    def __init__(self, images: EncodedImages, names: Sequence[str], first: int):
        self._images = images
        self._names = names
        self._first = names[first]
        self.size = decode(images[first], self._first).shape[:2]

    def __call__(self, row: int) -> UInt8[np.ndarray, "height width 3"]:
        image = decode(self._images[row], self._names[row])
        if image.shape[:2] != self.size:
            found, expected = (f"{height} x {width}" for height, width in (image.shape[:2], self.size))
            raise ImageError(
                f"{self._names[row]} has {found} pixels where {self._first} has {expected}: the images of a data set "
                "must have one size. Prepare the data set again."
            )
        return image


@dataclasses.dataclass(frozen=True)
class Hybrid:
    """What the batches of the hybrid phase hold besides."""

    first_step: int  # of the phase
    drop_uncovering: bool  # see `semi_positives.draw`


def train_batches(
    data: CrossViewData,
    rows: Int[np.ndarray, "examples"],
    plan: Callable[[int], Int[np.ndarray, "batch"]],
    *,
    first_step: int,
    augment: bool,
    seed: int,
    host_rows: slice,
    threads: int,
    hybrid: Hybrid | None = None,
) -> Generator[dict[str, np.ndarray], None, None]:
    """This host's rows of the batches of steps first_step, first_step + 1, ... without end.

    Each batch holds `aerial` and `ground`, uint8 [rows, height, width, 3], of each example's positive tile and
    panorama; `example`, int32 [rows], the plan's indices; `panorama`, `city` [rows] and `references` [rows, 4], int32,
    of the data set. Batches of the hybrid phase hold besides `offset`, float32 [rows, 2], of the positive in halves of
    a tile; `semi_positive`, uint8 like `aerial`; `semi_positive_tile`, int32 [rows]; `iou_ratio`, float32 [rows];
    and `semi_positive_counts`, bool [rows]. Close the generator (`close()`, or `device_feed.DeviceFeed` does it) to
    end its threads.

    Args:
      data: the prepared data set.
      rows: the training panoramas; the plan's batches are indices into them.
      plan: which examples make the batch of a step (`BatchPlan`); asked by many threads.
      first_step: of the first batch.
      augment: whether to turn and mirror each example, by a draw from (seed, step, slot of the global batch).
      seed: of the augmentation and the semi-positives.
      host_rows: the slots of the global batch that this host reads.
      threads: that read and decode.
      hybrid: the phase with semi-positives and offsets; None for none.

    Raises:
      UserError: an image that cannot be decoded or differs in size, by name, or sizes that cannot be augmented.
    """
    panoramas = data.panoramas
    tile_decoder = _Decoder(data.aerial, data.tiles.names, int(panoramas.references[rows[0], 0]))
    panorama_decoder = _Decoder(data.ground, panoramas.names, int(rows[0]))
    if augment:
        augmentation.check_sizes(tile_decoder.size, panorama_decoder.size)
    size = host_rows.stop - host_rows.start

    def load(position: int) -> dict[str, np.ndarray]:
        step, slot = position // size, host_rows.start + position % size
        example = plan(step)[slot]
        panorama = int(rows[example])
        references = panoramas.references[panorama]
        drawn = augmentation.draw(seed, step, slot) if augment else None

        def aerial(tile: int) -> UInt8[np.ndarray, "height width 3"]:
            image = tile_decoder(tile)
            return drawn.tile(image) if drawn else image

        ground = panorama_decoder(panorama)
        loaded = {
            "aerial": aerial(int(references[0])),
            "ground": drawn.panorama(ground) if drawn else ground,
            "example": np.int32(example),
            "panorama": np.int32(panorama),
            "city": np.int32(panoramas.city[panorama]),
            "references": references.astype(np.int32),
        }
        if hybrid is None or step < hybrid.first_step:
            return loaded
        offset_px = panoramas.offset_px[panorama]
        semi_positive = semi_positives.draw(
            offset_px, seed=seed, step=step, slot=slot, drop_uncovering=hybrid.drop_uncovering
        )
        tile = int(references[semi_positive.column])
        offset = offset_px[0] / (geometry.TILE_PX / 2)
        return loaded | {
            "offset": (drawn.offset(offset) if drawn else offset).astype(np.float32),
            "semi_positive": aerial(tile),
            "semi_positive_tile": np.int32(tile),
            "semi_positive_counts": np.bool_(semi_positive.counts),
            "iou_ratio": np.float32(semi_positive.iou_ratio),
        }

    positions = grain.MapDataset.range(first_step * size, sys.maxsize)
    return _read_ahead(positions, load, size, threads)


def image_batches(
    images: EncodedImages, rows: Int[np.ndarray, "images"], batch_size: int, threads: int, *, names: Sequence[str]
) -> Generator[tuple[UInt8[np.ndarray, "batch height width 3"], int], None, None]:
    """The images of some rows, in order, as (uint8 [batch_size, height, width, 3], how many of them are valid).

    Every batch has batch_size images, so that one compiled function serves them all; the last one's rest is black.

    Args:
      images: of a data set.
      rows: which images.
      batch_size: images a batch.
      threads: that read and decode.
      names: of all images of the data set, for errors.

    Raises:
      UserError: an image that cannot be decoded or differs in size from the first, by name.
    """
    if len(rows) == 0:
        return
    decoder = _Decoder(images, names, int(rows[0]))
    batches = _read_ahead(grain.MapDataset.range(len(rows)), lambda i: decoder(int(rows[i])), batch_size, threads)
    try:
        for batch in batches:
            missing = batch_size - len(batch)
            yield np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else batch, len(batch)
    finally:
        batches.close()


def _read_ahead(
    positions: grain.MapDataset, load: Callable[[int], Any], batch_size: int, threads: int
) -> Generator[Any, None, None]:
    """Batches of `load` at each position, in order.

    One example is one piece of work: Grain's share of it is some 20 microseconds, and the first batch is there as
    soon as all threads together can have it.
    """
    buffer = max(_BATCHES_AHEAD * batch_size, threads)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer)
    iterator = iter(positions.map(load).to_iter_dataset(options).batch(batch_size, drop_remainder=False))
    try:
        yield from iterator
    finally:
        iterator.close()
