"""Quarter turns and mirrors that keep a tile and its panorama views of one place.

A tile has north up and east to the right; a panorama has north in its middle column and east to the right of it. So
turning the tile by quarters rolls the panorama's columns by quarters of its width, and mirroring the one from left to
right mirrors the other.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from vigor_jax.errors import UserError
from vigor_jax.input.randomness import fold

# OpenCV, because copying NumPy's rotated and mirrored views into a batch costs as much as decoding the image.
_ROTATIONS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """One of the eight symmetries of a square tile, for both views and the offset: turned first, mirrored after."""

    turns: int  # quarter turns of the tile, counter-clockwise: after one, what was east is up
    mirror: bool  # left and right exchanged

    def tile(self, image: UInt8[np.ndarray, "size size 3"]) -> UInt8[np.ndarray, "size size 3"]:
        """Turns and mirrors a tile; returns the argument itself where that changes nothing."""
        if self.turns:
            image = cv2.rotate(image, _ROTATIONS[self.turns])
        return cv2.flip(image, 1) if self.mirror else image

    def panorama(self, image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
        """Gives the panorama of the tile so changed, or the argument itself; the width is a multiple of 4."""
        if self.turns:
            # What lay at bearing b now lies at b - 90 degrees a turn, so the columns move left.
            image = np.roll(image, -self.turns * (image.shape[1] // 4), axis=1)
        return cv2.flip(image, 1) if self.mirror else image

    def offset(self, offset_px: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Gives `geometry.tile_offset` of the tile so changed, [..., 2] in pixels.

        The panorama lies at row 320 + d0, column 320 - d1; a quarter turn takes what is d1 to the left of the centre
        to d1 below it, and what is d0 below it to d0 to the right.
        """
        d0, d1 = offset_px[..., 0], offset_px[..., 1]
        for _ in range(self.turns):
            d0, d1 = d1, -d0
        return np.stack([d0, -d1 if self.mirror else d1], axis=-1)


def draw(seed: int, step: int, slot: int) -> Augmentation:
    """Draws the augmentation of the example in a slot of the global batch of a step, each of the eight as likely."""
    # Eight divides 2**32, so the remainder is uniform.
    choice = int(fold(seed, "augmentation", step, slot).generate_state(1, np.uint32)[0]) % 8
    return Augmentation(turns=choice % 4, mirror=choice >= 4)


def check_sizes(aerial: tuple[int, int], ground: tuple[int, int]) -> None:
    """Refuses sizes (height, width) at which quarter turns are impossible, by a UserError."""
    if aerial[0] != aerial[1]:
        raise UserError(
            f"config.batch.augment turns tiles by quarters, but they are {aerial[0]} x {aerial[1]} pixels: make "
            "config.data.aerial_size square or set config.batch.augment=False."
        )
    if ground[1] % 4:
        raise UserError(
            f"config.batch.augment rolls panoramas by quarters of their width, but they are {ground[1]} pixels wide: "
            "make the width in config.data.ground_size a multiple of 4 or set config.batch.augment=False."
        )
