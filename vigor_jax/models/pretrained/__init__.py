"""Weights of other frameworks, each with the preprocessing that belongs to it."""

from vigor_jax.models.pretrained.weight_file_error import WeightFileError

__all__ = ["WeightFileError"]
