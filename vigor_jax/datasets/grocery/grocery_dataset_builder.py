"""Prepares the groceries from their .zip."""

from vigor_jax.config import ImageDataConfig
from vigor_jax.datasets import labelled_loader
from vigor_jax.datasets.grocery.photos import GroceryPhotos
from vigor_jax.datasets.labelled_builder import LabelledBuilder
from vigor_jax.datasets.labelled_images import LabelledImages


class Builder(LabelledBuilder):
    """Photos of groceries in 81 fine and 43 coarse classes."""


def load(config: ImageDataConfig, *, verify: bool = False) -> LabelledImages:
    """Reads the groceries, having prepared them if they are not yet; see `labelled_loader.load`."""
    return labelled_loader.load(Builder, config, lambda: GroceryPhotos(config.root), verify=verify)
