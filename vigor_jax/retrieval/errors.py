"""What can be wrong with embeddings and references handed to an evaluation."""

from vigor_jax.errors import UserError


class EvaluationError(UserError):
    """Embeddings or references from which no honest rank can be computed; the message says which rows."""
