"""Exact ranks of true references: how many references score at least as high."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vigor_jax.retrieval.embeddings import both_views
from vigor_jax.retrieval.errors import EvaluationError
from vigor_jax.retrieval.references import require_references
from vigor_jax.retrieval.score_pass import Question, Reader, count, score_pass


@dataclasses.dataclass(frozen=True)
class Ranks:
    """For each query, how many references stand at or above one of its own; ties count as above.

    `unrelated` references are those that are none of the query's own.
    """

    positive: Int[np.ndarray, "queries"]  # rank of the positive: all other references at or above it
    unrelated_above_positive: Int[np.ndarray, "queries"]
    unrelated_above_best: Int[np.ndarray, "queries"]  # at or above the best of the query's own
    num_references: int  # size of the gallery


def ranks(
    ground: Float[Array | np.ndarray, "ground_rows dim"],
    aerial: Float[Array | np.ndarray, "aerial_rows dim"],
    references: Int[Array | np.ndarray, "queries own"],
    *,
    num_aerial: int | None = None,
    query_block: int | None = None,
    reference_block: int | None = None,
) -> Ranks:
    """Rank of each query's positive among all references, by counting those that score at least as high.

    The score is the dot product in float32 at full precision; scores within TIE_TOLERANCE * |query| * |longest
    reference| are ties. One pass over the references, block by block: beyond the embeddings a device holds
    `query_block * reference_block` scores, a few blocks of `query_block` embeddings and one of `reference_block` (on an
    accelerator, by default and with D = 4096, some 0.4 GiB), whatever the number of queries and references.

    NumPy arrays and arrays on one device are ranked on one device. Arrays sharded over a mesh stay where they are:
    each device counts among its own rows, and only query blocks and counts travel.

    Example:
      >>> import numpy as np
      >>> from vigor_jax.retrieval import ranks
      >>> aerial = np.eye(4, dtype=np.float32)
      >>> ground = np.array([[0.48, 0.6, 0.64, 0.0]], np.float32)
      >>> found = ranks(ground, aerial, np.array([[0, 2]]))  # tile 0 is the positive, tile 2 a semi-positive
      >>> [int(found.positive[0]), int(found.unrelated_above_positive[0]), int(found.unrelated_above_best[0])]
      [2, 1, 0]

    Args:
      ground: embeddings of the queries. Rows beyond len(references) are padding.
      aerial: embeddings of the references.
      references: rows of `aerial` that show each query's place, the positive first. The same on every host.
      num_aerial: rows of `aerial` from this one on are padding; None: there is none.
      query_block: queries scored at once, over all devices; None: see `score_pass`.
      reference_block: references scored at once, on each device; likewise.

    Returns:
      Counts in the order of `references`, on the host.

    Raises:
      EvaluationError: nothing to rank, shapes that do not match, references out of range, non-finite embeddings.
    """
    references = np.asarray(references)
    num_aerial = aerial.shape[0] if num_aerial is None else num_aerial
    if not 0 < num_aerial <= aerial.shape[0]:
        raise EvaluationError(f"num_aerial = {num_aerial}: there are {aerial.shape[0]} aerial embeddings.")
    require_references(references, ground.shape[0], num_aerial)
    views = both_views(ground, aerial, np.arange(len(references)), np.arange(num_aerial))
    (found,) = score_pass(
        *views, ranks_question(references, num_aerial), query_block=query_block, reference_block=reference_block
    )
    return found


def ranks_question(references: Int[np.ndarray, "queries own"], num_aerial: int) -> Question:
    """`ranks` as a question of a pass.

    Args:
      references: of each query, numbers in the gallery; the positive first.
      num_aerial: size of the gallery.
    """
    # A reference named twice by a query is one reference.
    first_mention = np.stack(
        [(references[:, :k] != references[:, k : k + 1]).all(axis=1) for k in range(references.shape[1])], axis=1
    )
    return Question(
        _Counting(),
        np.where(first_mention, references, -1),
        lambda counts: Ranks(*counts.astype(np.int64).T, num_aerial),
    )


@dataclasses.dataclass(frozen=True)
class _Counting(Reader):
    """Counts [queries, 3] in the order of `Ranks`. Its references are the queries' own."""

    def begin(self, queries, slots, slack, gallery):
        scores = gallery.scores(queries, slots)
        positive, best = scores[:, 0] - slack, scores.max(axis=1) - slack
        own_above = count(scores[:, 1:] >= positive[:, None])
        none = jnp.zeros(len(queries), jnp.int32)
        return (slots, positive, best, own_above), (none, none)

    def see(self, fixed, state, block):
        slots, *thresholds, _ = fixed
        # Taken from the block: a recomputed score of an own reference need not equal the one that was counted.
        own = block.of(slots)

        def unrelated(threshold):
            return count(block.scores >= threshold[:, None]) - count((own >= threshold[:, None]) & (own > -jnp.inf))

        return tuple(so_far + unrelated(threshold) for so_far, threshold in zip(state, thresholds, strict=True))

    def end(self, fixed, state, axes):
        above_positive, above_best = jax.lax.psum(state, axes)
        return jnp.stack([fixed[-1] + above_positive, above_positive, above_best], axis=1)
