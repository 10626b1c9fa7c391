"""Prepares ImageNet from the files its site hands out."""

from vigor_jax.config import ImageDataConfig
from vigor_jax.datasets import labelled_loader
from vigor_jax.datasets.imagenet.photos import HOW_TO_GET, ImageNetPhotos
from vigor_jax.datasets.labelled_builder import LabelledBuilder
from vigor_jax.datasets.labelled_images import LabelledImages


class Builder(LabelledBuilder):
    """ILSVRC 2012: photos of 1,000 classes."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = HOW_TO_GET


def load(config: ImageDataConfig, *, verify: bool = False) -> LabelledImages:
    """Reads ImageNet, having prepared the parts that are not yet; see `labelled_loader.load`."""
    return labelled_loader.load(Builder, config, lambda: ImageNetPhotos(config.root), verify=verify)
