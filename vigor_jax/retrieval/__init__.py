"""Exact ranks and retrieval metrics."""

from vigor_jax.retrieval.errors import EvaluationError
from vigor_jax.retrieval.metrics import fractions, rank_metrics
from vigor_jax.retrieval.ranks import Ranks, ranks

__all__ = ["EvaluationError", "Ranks", "fractions", "rank_metrics", "ranks"]
