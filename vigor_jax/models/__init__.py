"""Backbones, aggregations and heads as pure Linen modules, and the import of pretrained weights."""

from vigor_jax.models.cross_view import CrossViewModel
from vigor_jax.models.embedder import Embedder
from vigor_jax.models.spatial_aware_aggregation import SpatialAwareAggregation
from vigor_jax.models.vgg import VGG

__all__ = ["VGG", "CrossViewModel", "Embedder", "SpatialAwareAggregation"]
