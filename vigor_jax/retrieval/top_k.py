"""The best references of every query, streamed on the devices that hold the descriptors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vigor_jax.retrieval.embeddings import both_views
from vigor_jax.retrieval.errors import EvaluationError
from vigor_jax.retrieval.score_pass import Question, Reader, score_pass

_CHUNK = 64


def top_k(
    ground: Float[Array | np.ndarray, "ground_rows dim"],
    aerial: Float[Array | np.ndarray, "aerial_rows dim"],
    k: int,
    *,
    num_aerial: int | None = None,
    num_ground: int | None = None,
    query_block: int | None = None,
    reference_block: int | None = None,
) -> tuple[Float[np.ndarray, "queries k"], Int[np.ndarray, "queries k"]]:
    """Scores and rows of the k references that score highest with each query, best first; exact.

    The score is the dot product in float32 at full precision; of equal scores the lower row comes first. Blocks,
    memory and devices are as in `ranks`, beside `query_block * k` scores and rows on every device.

    Example:
      >>> import numpy as np
      >>> from vigor_jax.retrieval import top_k
      >>> aerial = np.eye(4, dtype=np.float32)
      >>> scores, rows = top_k(np.array([[0.0, 0.6, 0.8, 0.0]], np.float32), aerial, 3)
      >>> [round(float(score), 4) for score in scores[0]], rows[0].tolist()
      ([0.8, 0.6, 0.0], [2, 1, 0])

    Args:
      ground: embeddings of the queries, on the host or on one or more devices.
      aerial: embeddings of the references.
      k: 1..num_aerial.
      num_aerial: rows of `aerial` from this one on are padding; None: there is none.
      num_ground: rows of `ground` from this one on are padding; None: there is none.
      query_block: queries scored at once, over all devices; None: see `score_pass`.
      reference_block: references scored at once, on each device; likewise.

    Returns:
      (scores float32 [Q, k], rows int32 [Q, k]) on the host, on every host.

    Raises:
      EvaluationError: fewer than k references, nothing to search for, sizes that do not match, non-finite embeddings.
    """
    num_aerial = aerial.shape[0] if num_aerial is None else num_aerial
    num_ground = ground.shape[0] if num_ground is None else num_ground
    for name, view, rows in (("num_aerial", aerial, num_aerial), ("num_ground", ground, num_ground)):
        if not 0 < rows <= view.shape[0]:
            raise EvaluationError(f"{name} = {rows}: there are {view.shape[0]} embeddings.")
    if not 0 < k <= num_aerial:
        raise EvaluationError(f"the {k} best of {num_aerial} references: k must be 1 to {num_aerial}.")
    views = both_views(ground, aerial, np.arange(num_ground), np.arange(num_aerial))
    (found,) = score_pass(
        *views, top_k_question(k, num_ground), query_block=query_block, reference_block=reference_block
    )
    return found


def top_k_question(k: int, num_ground: int) -> Question:
    """`top_k` as a question of a pass; the rows found are numbers in the gallery.

    Args:
      k: at most the size of the gallery.
      num_ground: number of queries.
    """
    return Question(_Best(k), np.zeros((num_ground, 0), np.int64), lambda found: found)


@dataclasses.dataclass(frozen=True)
class _Best(Reader):
    """Scores and numbers, each [queries, k], of the k best. It asks for no reference."""

    k: int

    def begin(self, queries, slots, slack, gallery):
        shape = len(queries), self.k
        return (), (jnp.full(shape, -jnp.inf, jnp.float32), jnp.full(shape, -1, jnp.int32))

    def see(self, fixed, state, block):
        scores, place = _best_of_block(block.scores, min(self.k, block.scores.shape[1]))
        # After the best so far, whose references all come before: the first of equals stays first.
        scores = jnp.concatenate([state[0], scores], axis=1)
        reference = jnp.concatenate([state[1], block.reference[place]], axis=1)
        scores, place = jax.lax.top_k(scores, self.k)
        return scores, jnp.take_along_axis(reference, place, axis=1)

    def end(self, fixed, state, axes):
        scores, reference = (jax.lax.all_gather(x, axes, axis=1, tiled=True, to="invarying") for x in state)
        if scores.shape[1] == self.k:  # of the only device
            return scores, reference
        # The devices' references may interleave, so of equals the lower is looked for.
        scores, reference = jax.lax.sort((-scores, reference), num_keys=2)
        return -scores[:, : self.k], reference[:, : self.k]


def _best_of_block(scores, k):
    """The k highest of [queries, block] and their columns, best first, the first of equals first.

    They lie in the k chunks whose highest scores come first in that same order, as each of these has one that comes
    before any score of another chunk. So the block is read once, for its chunks' highest.
    """
    queries, block = scores.shape
    if block % _CHUNK or block < 2 * k * _CHUNK:
        return jax.lax.top_k(scores, k)
    chunks = scores.reshape(queries, -1, _CHUNK)
    _, chosen = jax.lax.top_k(chunks.max(axis=2), k)
    chosen = jnp.sort(chosen, axis=1)
    candidates = jnp.take_along_axis(chunks, chosen[:, :, None], axis=1).reshape(queries, -1)
    best, at = jax.lax.top_k(candidates, k)
    return best, jnp.take_along_axis(chosen, at // _CHUNK, axis=1) * _CHUNK + at % _CHUNK
