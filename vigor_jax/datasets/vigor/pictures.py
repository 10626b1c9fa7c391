"""VIGOR's image files: what a tile and a panorama must be, read whole or looked at from both ends."""

from pathlib import Path

from vigor_jax.datasets import image_codec
from vigor_jax.datasets.cross_view_builder import View
from vigor_jax.datasets.image_codec import Image, ImageError


def read(path: Path, view: View) -> Image:
    """Reads and decodes an image.

    Raises:
      ImageError: it cannot be read or decoded, is not 8-bit colour, or has another shape than its view.
    """
    image = image_codec.decode(image_codec.read_file(path), str(path))
    _check_shape(image.shape[:2], view, path)
    return image


def read_size(path: Path, view: View) -> tuple[int, int]:
    """(height, width) of an image from its header, as `image_codec.read_size`.

    Raises:
      ImageError: as far as the two ends of the file tell, what `read` would raise.
    """
    size = image_codec.read_size(path)
    _check_shape(size, view, path)
    return size


def _check_shape(size: tuple[int, int], view: View, path: Path) -> None:
    """Tiles are square and panoramas twice as wide as high; resizing would squeeze others without a word."""
    height, width = size
    proportion = 1 if view == "aerial" else 2
    if width != proportion * height:
        kind = "a tile is square" if view == "aerial" else "a panorama, all 360 degrees of it, is twice as wide as high"
        raise ImageError(f"{path}: {height} x {width} pixels (height x width), where {kind}. Fetch it again.")
