"""Prepares photos that are sorted into folders."""

from vigor_jax.config import ImageDataConfig
from vigor_jax.datasets import labelled_loader
from vigor_jax.datasets.image_folders.photos import TreePhotos
from vigor_jax.datasets.labelled_builder import LabelledBuilder
from vigor_jax.datasets.labelled_images import LabelledImages


class Builder(LabelledBuilder):
    """Photos in a folder for each class."""


def load(config: ImageDataConfig, *, verify: bool = False) -> LabelledImages:
    """Reads the photos of a tree, having prepared them if they are not yet; see `labelled_loader.load`."""
    return labelled_loader.load(Builder, config, lambda: TreePhotos(config.root), verify=verify)
