"""What the network sees of a photo: a square cut from it once its shorter side has a certain size, the training scale S
or the test scale Q of Simonyan and Zisserman (ICLR 2015, sections 3.1 and 3.2).
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import UInt8

from vigor_jax.datasets.image_codec import Image, resize, with_shorter_side
from vigor_jax.input.randomness import fold


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """A square to cut from an image of any size, drawn."""

    side: int  # S, pixels
    down: float  # where the cut lies between the top (0) and the bottom (below 1)
    right: float  # the same from left to right
    mirror: bool  # left and right exchanged

    def corner(self, size: tuple[int, int], crop: int) -> tuple[int, int]:
        """Gives (row, column) of the upper left corner in an image of (height, width), each possible one as likely."""
        height, width = size
        return int(self.down * (height - crop + 1)), int(self.right * (width - crop + 1))

    def __call__(self, image: Image, out: UInt8[np.ndarray, "crop crop 3"]) -> None:
        """Writes the cut of an image to `out`, whose size is the crop's and which may be the image itself."""
        scaled = scale_to(image, self.side)
        row, column = self.corner(scaled.shape[:2], len(out))
        cut = scaled[row : row + len(out), column : column + len(out)]
        if self.mirror:
            out[:] = cv2.flip(cut, 1)
        elif scaled is not out:
            out[:] = cut


def draw(seed: int, step: int, slot: int, *, scales: tuple[int, int], mirror: bool) -> RandomCrop:
    """Draws the crop of the example in a slot of the global batch of a step.

    Args:
      scales: S is drawn uniformly from these and the whole numbers between; equal for a fixed S.
      mirror: exchange left and right in half of the draws.
    """
    rng = np.random.default_rng(fold(seed, "crop", step, slot))
    side, down, right, mirrored = rng.integers(scales[0], scales[1] + 1), rng.random(), rng.random(), rng.random() < 0.5
    return RandomCrop(int(side), down, right, mirror and bool(mirrored))


def scale_to(image: Image, side: int) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """Scales an image to a shorter side of so many pixels; returns the image itself if it has that already."""
    return resize(image, with_shorter_side(image.shape[:2], side))


def centre(image: Image, size: tuple[int, int]) -> UInt8[np.ndarray, "rows columns 3"]:
    """Cuts the middle (height, width) of an image, half a pixel up and left where there is no middle."""
    row, column = ((whole - part) // 2 for whole, part in zip(image.shape[:2], size, strict=True))
    return image[row : row + size[0], column : column + size[1]]


def grid(image: Image, crop: int, per_side: int) -> UInt8[np.ndarray, "crops crop crop 3"]:
    """Cuts squares on a regular grid that reaches all four edges: [per_side ** 2, crop, crop, 3], row by row.

    GoogLeNet's and VGG's multi-crop evaluation takes five a side, and each mirrored as well (section 3.2). One a side
    is the centre.
    """
    if per_side == 1:
        return centre(image, (crop, crop))[None]
    rows, columns = ([round(i * (whole - crop) / (per_side - 1)) for i in range(per_side)] for whole in image.shape[:2])
    return np.stack([image[row : row + crop, column : column + crop] for row in rows for column in columns])


def whole_size(size: tuple[int, int], side: int, multiple: int) -> tuple[int, int]:
    """Gives (height, width) of what remains of an image at scale `side`, cut to multiples, at least one of each."""
    height, width = (max(1, pixels // multiple) * multiple for pixels in with_shorter_side(size, side))
    return height, width
