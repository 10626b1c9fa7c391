"""Exact ranks, search and retrieval metrics, and positions in metres."""

from vigor_jax.retrieval.embeddings import Embeddings, both_views
from vigor_jax.retrieval.errors import EvaluationError
from vigor_jax.retrieval.metrics import fractions, rank_metrics
from vigor_jax.retrieval.ranks import Ranks, ranks
from vigor_jax.retrieval.top_k import top_k

__all__ = ["Embeddings", "EvaluationError", "Ranks", "both_views", "fractions", "rank_metrics", "ranks", "top_k"]
