"""Encoded images to batches of pixels, decoded by threads ahead of time and in order.

Memory: `read_ahead` works on at most three batches, the one being handed out and two more, whatever the number of
threads; `device_feed` holds those that it has in flight.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np
from jaxtyping import Int, UInt8

from vigor_jax import geometry
from vigor_jax.datasets.cross_view import CrossViewData, EncodedImages
from vigor_jax.datasets.image_codec import ImageError, decode
from vigor_jax.input import augmentation, semi_positives
from vigor_jax.input.read_ahead import read_ahead
from vigor_jax.input.sampling import Plan

Image = UInt8[np.ndarray, "height width 3"]


class _Decoder:
    """Decodes images of one data set, all of which must have the size of a first one."""

    def __init__(self, images: EncodedImages, names: Sequence[str], first: int):
        self._images = images
        self._names = names
        self._first = names[first]
        self.size = decode(images[first], self._first).shape[:2]

    def __call__(self, row: int, out: Image) -> Image:
        """Decodes an image into an array of the size, and returns that."""
        image = decode(self._images[row], self._names[row], out)
        if image is not out:
            found, expected = (f"{height} x {width}" for height, width in (image.shape[:2], self.size))
            raise ImageError(
                f"{self._names[row]} has {found} pixels where {self._first} has {expected}: the images of a data set "
                "must have one size. Prepare the data set again."
            )
        return out

    def empty(self, count: int) -> UInt8[np.ndarray, "count height width 3"]:
        """Memory for so many images."""
        return np.empty((count, *self.size, 3), np.uint8)


@dataclasses.dataclass(frozen=True)
class Hybrid:
    """What the batches of the hybrid phase hold beside pairs: what its losses read, and nothing else."""

    first_step: int  # of the phase
    semi_positives: bool = True  # a second tile of each pair, for the IOU loss
    drop_uncovering: bool = False  # see `semi_positives.draw`
    offsets: bool = True  # of the positives, for the offset loss


def train_batches(
    data: CrossViewData,
    rows: Int[np.ndarray, "examples"],
    plan: Plan,
    *,
    first_step: int,
    augment: bool,
    seed: int,
    host_rows: slice,
    threads: int,
    for_mining: bool,
    hybrid: Hybrid | None = None,
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yields this host's rows of the batches of steps first_step, first_step + 1, ... without end.

    Each batch holds `aerial` and `ground`, uint8 [rows, height, width, 3], of each example's positive tile and
    panorama. For mining it holds besides `example`, int32 [rows], the plan's indices, and `city` [rows] and
    `references` [rows, 4], int32, of the data set. In the hybrid phase it holds, with offsets, `offset`, float32
    [rows, 2], of the positive in halves of a tile; with semi-positives `semi_positive`, uint8 like `aerial`;
    `iou_ratio`, float32 [rows]; `semi_positive_counts`, bool [rows]; and for mining `semi_positive_tile`, int32 [rows].
    Close the generator (`close()`, or `device_feed.DeviceFeed` does it) to end its threads.

    Args:
      rows: the training panoramas; the plan's batches are indices into them.
      plan: asked once for each batch, in order, by the thread that asks for batches.
      augment: whether to turn and mirror each example, by a draw from (seed, step, slot of the global batch).
      seed: of the augmentation and the semi-positives.
      host_rows: the slots of the global batch that this host reads.
      threads: that read and decode; 0: one for each core of this process. They change nothing but the time.
      for_mining: the steps mine, and must know which examples and tiles these are.
      hybrid: the phase with semi-positives, offsets or both; None for none.

    Raises:
      UserError: an image that cannot be decoded or differs in size, by name, or sizes that cannot be augmented.
    """
    panoramas = data.panoramas
    tile_decoder = _Decoder(data.aerial, data.tiles.names, int(panoramas.references[rows[0], 0]))
    panorama_decoder = _Decoder(data.ground, panoramas.names, int(rows[0]))
    if augment:
        augmentation.check_sizes(tile_decoder.size, panorama_decoder.size)
    size = host_rows.stop - host_rows.start

    def empty(step: int) -> dict[str, np.ndarray]:
        batch = {"aerial": tile_decoder.empty(size), "ground": panorama_decoder.empty(size)}
        if for_mining:
            batch |= {
                "example": np.empty(size, np.int32),
                "city": np.empty(size, np.int32),
                "references": np.empty((size, 4), np.int32),
            }
        if hybrid is None or step < hybrid.first_step:
            return batch
        if hybrid.offsets:
            batch["offset"] = np.empty((size, 2), np.float32)
        if hybrid.semi_positives:
            batch |= {
                "semi_positive": tile_decoder.empty(size),
                "semi_positive_counts": np.empty(size, np.bool_),
                "iou_ratio": np.empty(size, np.float32),
            }
            if for_mining:
                batch["semi_positive_tile"] = np.empty(size, np.int32)
        return batch

    def load(batch: dict[str, np.ndarray], step: int, row: int, example: int) -> None:
        """Fills one row of the batch of a step."""
        slot = host_rows.start + row
        panorama = int(rows[example])
        references = panoramas.references[panorama]
        drawn = augmentation.draw(seed, step, slot) if augment else None
        if for_mining:
            batch["example"][row] = example
            batch["city"][row] = panoramas.city[panorama]
            batch["references"][row] = references

        ground = panorama_decoder(panorama, batch["ground"][row])
        if drawn:
            ground[:] = drawn.panorama(ground)
        tiles, offset_px = {"aerial": references[0]}, panoramas.offset_px[panorama]
        if "offset" in batch:
            offset = offset_px[0] / (geometry.TILE_PX / 2)
            batch["offset"][row] = drawn.offset(offset) if drawn else offset
        if "semi_positive" in batch:
            semi_positive = semi_positives.draw(
                offset_px, seed=seed, step=step, slot=slot, drop_uncovering=hybrid.drop_uncovering
            )
            tiles["semi_positive"] = references[semi_positive.column]
            if for_mining:
                batch["semi_positive_tile"][row] = tiles["semi_positive"]
            batch["semi_positive_counts"][row] = semi_positive.counts
            batch["iou_ratio"][row] = semi_positive.iou_ratio
        for name, tile in tiles.items():
            aerial = tile_decoder(int(tile), batch[name][row])
            if drawn:
                aerial[:] = drawn.tile(aerial)

    def work() -> Iterator[tuple[dict[str, np.ndarray], list[Callable[[], None]]]]:
        for step in itertools.count(first_step):
            examples = plan(step)[host_rows].tolist()
            batch = empty(step)
            yield batch, [functools.partial(load, batch, step, row, example) for row, example in enumerate(examples)]

    return read_ahead(work(), threads)


def image_batches(
    images: EncodedImages, rows: Int[np.ndarray, "images"], batch_size: int, threads: int, *, names: Sequence[str]
) -> Generator[tuple[UInt8[np.ndarray, "batch height width 3"], int], None, None]:
    """Yields the images of some rows, in order, as (uint8 [batch_size, height, width, 3], how many are valid).

    Every batch has batch_size images, so that one compiled function serves them all; the last one's rest is black.

    Args:
      threads: that read and decode; 0: one for each core of this process.
      names: of all images of the data set, for errors.

    Raises:
      UserError: an image that cannot be decoded or differs in size from the first, by name.
    """
    if len(rows) == 0:
        return
    decoder = _Decoder(images, names, int(rows[0]))

    def work() -> Iterator[tuple[tuple[UInt8[np.ndarray, "batch height width 3"], int], list[Callable[[], object]]]]:
        for start in range(0, len(rows), batch_size):
            batch, chosen = decoder.empty(batch_size), rows[start : start + batch_size].tolist()
            batch[len(chosen) :] = 0
            work = [functools.partial(decoder, row, out) for row, out in zip(chosen, batch, strict=False)]
            yield (batch, len(chosen)), work

    yield from read_ahead(work(), threads)
