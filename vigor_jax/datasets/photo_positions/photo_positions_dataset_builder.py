"""Prepares photos whose positions are listed."""

from vigor_jax.config import ImageDataConfig
from vigor_jax.datasets import labelled_loader
from vigor_jax.datasets.labelled_builder import LabelledBuilder
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.datasets.photo_positions.photos import PositionedPhotos


class Builder(LabelledBuilder):
    """Photos with positions."""


def load(config: ImageDataConfig, *, verify: bool = False) -> LabelledImages:
    """Reads the photos of a list, having prepared them if they are not yet; see `labelled_loader.load`."""
    return labelled_loader.load(Builder, config, lambda: PositionedPhotos(config.root), verify=verify)
