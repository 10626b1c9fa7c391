"""Weights of other frameworks, each with the preprocessing that belongs to it."""

from vigor_jax.models.pretrained.stored_layers import WeightFileError
from vigor_jax.models.pretrained.vgg16 import load_vgg16

__all__ = ["WeightFileError", "load_vgg16"]
