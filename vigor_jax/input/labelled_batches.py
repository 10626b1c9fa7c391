"""Labelled images to batches of pixels, decoded, scaled and cut by threads ahead of time and in order.

Everything on the host is uint8, which is what crosses the bus. A colour shift would not fit it: its three numbers an
image travel along, to be added where the image becomes floating point.
"""

import functools
import itertools
from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np
from jaxtyping import Int

from vigor_jax.datasets.image_codec import Image, decode
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.errors import UserError
from vigor_jax.input import colour_shift, image_crops
from vigor_jax.input.colour_shift import PrincipalColours
from vigor_jax.input.read_ahead import read_ahead
from vigor_jax.input.sampling import Plan

Batch = dict[str, np.ndarray]
_PADDING = -1


class ScaleError(UserError):
    """Images too small, at the scale asked for, for what is to be cut from them."""


def train_batches(
    data: LabelledImages,
    plan: Plan,
    *,
    crop: int,
    scales: tuple[int, int],
    mirror: bool,
    colours: PrincipalColours | None,
    colour_std: float,
    with_labels: bool,
    first_step: int,
    seed: int,
    host_rows: slice,
    threads: int,
) -> Generator[Batch, None, None]:
    """Yields this host's rows of the batches of steps first_step, first_step + 1, ... without end.

    Each batch holds `image`, uint8 [rows, crop, crop, 3]; with labels `label`, int32 [rows]; and where colours are
    shifted `colour_shift`, float32 [rows, 3], to be added to the RGB values of 0 to 255. Close the generator
    (`close()`, or `device_feed.DeviceFeed` does it) to end its threads.

    Args:
      plan: of indices into `data.train`; asked once for each batch, in order, by the thread that asks for batches.
      crop: pixels, side of the cut.
      scales: S of the shorter side before cutting, drawn from this range, ends included; none below `crop`.
      mirror: exchange left and right in half of the draws.
      colours: of the training images; None for no colour shift.
      with_labels: the step reads them.
      seed: of all draws, which are functions of it, the step and the slot of the global batch.
      host_rows: the slots of the global batch that this host reads.
      threads: that read and decode; 0: one for each core of this process. They change nothing but the time.

    Raises:
      ImageError: an image that cannot be decoded, by name.
    """
    size = host_rows.stop - host_rows.start

    def load(batch: Batch, step: int, index: int, row: int) -> None:
        slot = host_rows.start + index
        if with_labels:
            batch["label"][index] = data.labels[row]
        drawn = image_crops.draw(seed, step, slot, scales=scales, mirror=mirror)
        out = batch["image"][index]
        drawn(decode(data.images[row], data.names[row], out), out)
        if colours is not None:
            batch["colour_shift"][index] = colour_shift.draw(seed, step, slot, colours, colour_std)

    def work() -> Iterator[tuple[Batch, list[Callable[[], None]]]]:
        for step in itertools.count(first_step):
            rows = data.train[plan(step)[host_rows]].tolist()
            batch = {"image": np.empty((size, crop, crop, 3), np.uint8)}
            if with_labels:
                batch["label"] = np.empty(size, np.int32)
            if colours is not None:
                batch["colour_shift"] = np.empty((size, 3), np.float32)
            yield batch, [functools.partial(load, batch, step, index, row) for index, row in enumerate(rows)]

    return read_ahead(work(), threads)


def centre_crops(
    data: LabelledImages,
    rows: Int[np.ndarray, "images"],
    *,
    crop: int,
    scale: int,
    batch_size: int,
    host_rows: slice,
    threads: int,
) -> Generator[Batch, None, None]:
    """Yields the middle of each image at one scale, for evaluation at a single scale.

    This host's rows of batches of batch_size images, in order: `image`, uint8 [rows, crop, crop, 3]; `row`, int32
    [rows], of the data set, -1 where the last batch is filled up with black.

    Args:
      crop: pixels, side of the cut.
      scale: Q, of the shorter side before cutting.
      batch_size: over all hosts.
      host_rows: the slots of each batch that this host reads.
      threads: that read and decode; 0: one for each core of this process.

    Raises:
      ScaleError: the cut is larger than the scaled image.
      ImageError: an image that cannot be decoded, by name.
    """
    _require_fits(crop, scale)
    batches = [((crop, crop), part) for part in _parts(rows, batch_size)]
    return _evaluated(data, batches, functools.partial(_middle, scale=scale), host_rows, threads)


def grid_crops(
    data: LabelledImages,
    rows: Int[np.ndarray, "images"],
    *,
    crop: int,
    scale: int,
    per_side: int,
    batch_size: int,
    host_rows: slice,
    threads: int,
) -> Generator[Batch, None, None]:
    """Yields cuts of each image on a grid (`image_crops.grid`), for multi-crop evaluation; the devices mirror.

    As `centre_crops`, with `image` uint8 [rows, per_side ** 2, crop, crop, 3].
    """
    _require_fits(crop, scale)

    def cut(image: Image, out: np.ndarray) -> None:
        out[:] = image_crops.grid(image_crops.scale_to(image, scale), crop, per_side)

    batches = [((per_side**2, crop, crop), part) for part in _parts(rows, batch_size)]
    return _evaluated(data, batches, cut, host_rows, threads)


def whole_images(
    data: LabelledImages,
    rows: Int[np.ndarray, "images"],
    *,
    scale: int,
    batch_size: int,
    host_rows: slice,
    threads: int,
    multiple: int = 32,
) -> Generator[Batch, None, None]:
    """Yields each image uncropped at one scale, for dense evaluation.

    Images of one shape come together, so that one compiled program serves many: the height and the width are cut from
    both sides to multiples, by less than one of them. With 32, VGG's stride, no more is lost than what its pooling
    leaves out. As `centre_crops`, with `image` uint8 [rows, height, width, 3] and the rows ordered by shape; hosts get
    the same shapes at the same time. Every shape has its own last batch that is filled up with black.

    Args:
      scale: Q, of the shorter side; at least one multiple.
      batch_size: over all hosts.
      host_rows: the slots of each batch that this host reads.
      threads: that read and decode; 0: one for each core of this process.
      multiple: of pixels.

    Raises:
      ScaleError: the scale is below one multiple.
      ImageError: an image that cannot be decoded, by name.
    """
    if scale < multiple:
        raise ScaleError(f"a test scale of {scale} pixels is too small for dense evaluation: use at least {multiple}.")
    shapes = [image_crops.whole_size((h, w), scale, multiple) for h, w in data.sizes[rows].tolist()]
    by_shape: dict[tuple[int, int], list[int]] = {}
    for row, shape in zip(rows.tolist(), shapes, strict=True):
        by_shape.setdefault(shape, []).append(row)
    batches = [(shape, part) for shape in sorted(by_shape) for part in _parts(by_shape[shape], batch_size)]
    return _evaluated(data, batches, functools.partial(_middle, scale=scale), host_rows, threads)


def _evaluated(
    data: LabelledImages,
    batches: Sequence[tuple[tuple[int, ...], Sequence[int]]],
    cut: Callable[[Image, np.ndarray], None],
    host_rows: slice,
    threads: int,
) -> Generator[Batch, None, None]:
    """Batches of given shapes of what `cut` writes of given rows."""
    size = host_rows.stop - host_rows.start

    def load(batch: Batch, index: int, row: int) -> None:
        out = batch["image"][index]
        # Only an image, not a stack of cuts, can be decoded where its batch lies.
        cut(decode(data.images[row], data.names[row], out if out.ndim == 3 else None), out)

    def work() -> Iterator[tuple[Batch, list[Callable[[], None]]]]:
        for shape, rows in batches:
            mine = np.asarray(rows[host_rows.start : host_rows.stop], np.int32)
            batch = {"image": np.empty((size, *shape, 3), np.uint8), "row": np.full(size, _PADDING, np.int32)}
            batch["row"][: len(mine)] = mine
            batch["image"][len(mine) :] = 0
            yield batch, [functools.partial(load, batch, index, int(row)) for index, row in enumerate(mine)]

    return read_ahead(work(), threads)


def _middle(image: Image, out: np.ndarray, *, scale: int) -> None:
    scaled = image_crops.scale_to(image, scale)
    if scaled is not out:
        out[:] = image_crops.centre(scaled, out.shape[:2])


def _parts(rows: Sequence[int] | Int[np.ndarray, "images"], batch_size: int) -> list[list[int]]:
    rows = rows.tolist() if isinstance(rows, np.ndarray) else rows
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def _require_fits(crop: int, scale: int) -> None:
    if scale < crop:
        raise ScaleError(f"a crop of {crop} pixels does not fit into an image scaled to {scale}. Use a larger scale.")
