"""Losses: arrays in, scalar out."""

from vigor_jax.losses.cross_entropy import cross_entropy
from vigor_jax.losses.embedding_distance import embedding_distance
from vigor_jax.losses.iou_difference import iou_difference
from vigor_jax.losses.iou_ratio import iou_ratio
from vigor_jax.losses.offset_classification import offset_classification
from vigor_jax.losses.offset_regression import offset_regression
from vigor_jax.losses.soft_margin_triplet import soft_margin_triplet

__all__ = [
    "cross_entropy",
    "embedding_distance",
    "iou_difference",
    "iou_ratio",
    "offset_classification",
    "offset_regression",
    "soft_margin_triplet",
]
