"""The references that show each query's place, as they are given."""

import numpy as np

from vigor_jax.retrieval.errors import EvaluationError


def require_references(references: np.ndarray, num_ground: int, num_aerial: int) -> None:
    """Refuses references that are not [queries, own] rows of the gallery, for no more queries than there are.

    Raises:
      EvaluationError: says what was found.
    """
    if references.ndim != 2 or not references.size:
        raise EvaluationError(f"references are {references.shape}: expected [queries, own].")
    if references.dtype.kind not in "iu":
        raise EvaluationError(f"references are {references.dtype}: expected rows of the aerial embeddings.")
    if len(references) > num_ground:
        raise EvaluationError(f"{len(references)} queries have references but only {num_ground} have an embedding.")
    outside = (references < 0) | (references >= num_aerial)
    if outside.any():
        query, column = np.argwhere(outside)[0]
        raise EvaluationError(
            f"{int(outside.any(axis=1).sum())} queries name a reference that has no embedding; the first is query "
            f"{query} with reference {references[query, column]} of 0..{num_aerial - 1}."
        )
