"""The best references of every query, streamed on the devices that hold the descriptors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from vigor_jax.retrieval.errors import EvaluationError
from vigor_jax.retrieval.sharded_rows import common_mesh, finite_lengths, in_row_order, place_rows


def top_k(
    ground: Float[Array | np.ndarray, "ground_rows dim"],
    aerial: Float[Array | np.ndarray, "aerial_rows dim"],
    k: int,
    *,
    num_aerial: int | None = None,
    num_ground: int | None = None,
    query_block: int = 1024,
    reference_block: int = 4096,
) -> tuple[Float[np.ndarray, "queries k"], Int[np.ndarray, "queries k"]]:
    """Scores and rows of the k references that score highest with each query, best first; exact.

    The score is the dot product in float32 at full precision; of equal scores the lower row comes first. Blocks,
    memory and devices are as in `ranks`, beside `query_block * k` scores and rows on every device.

    Args:
      ground: embeddings of the queries, on the host or on one or more devices.
      aerial: embeddings of the references.
      k: 1..num_aerial.
      num_aerial: rows of `aerial` from this one on are padding; None: there is none.
      num_ground: rows of `ground` from this one on are padding; None: there is none.
      query_block: queries scored at once, over all devices.
      reference_block: references scored at once, on each device.

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
    mesh = common_mesh(aerial, ground)
    aerial, ground = place_rows(aerial, mesh), place_rows(ground, mesh)
    finite_lengths(ground, mesh, num_ground, "ground")
    finite_lengths(aerial, mesh, num_aerial, "aerial")
    scores, rows = _search(
        ground,
        aerial,
        np.int32(num_aerial),
        k=k,
        mesh=mesh,
        query_block=min(-(-query_block // mesh.size), ground.shape[0] // mesh.size),
        reference_block=min(reference_block, aerial.shape[0] // mesh.size),
    )
    scores, rows = (in_row_order(np.asarray(x), ground.shape[0])[:num_ground] for x in (scores, rows))
    return scores, rows


@functools.partial(jax.jit, static_argnames=("k", "mesh", "query_block", "reference_block"))
def _search(ground, aerial, num_aerial, *, k, mesh, query_block, reference_block):
    """Scores and rows, each [blocks, devices, query_block, k], replicated."""
    axes = mesh.axis_names
    split = P(axes)

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(split, split, P()), out_specs=(P(), P()))
    def search(ground, aerial, num_aerial):
        first_row = jax.lax.axis_index(axes) * aerial.shape[0]

        def best_of_queries(step):
            start = jnp.minimum(step * query_block, ground.shape[0] - query_block)
            queries = jax.lax.dynamic_slice_in_dim(ground, start, query_block)
            queries = jax.lax.all_gather(queries, axes, tiled=True, to="invarying").astype(jnp.float32)

            def better(best, block):
                block_start = jnp.minimum(block * reference_block, aerial.shape[0] - reference_block)
                tiles = jax.lax.dynamic_slice_in_dim(aerial, block_start, reference_block).astype(jnp.float32)
                scores = jnp.matmul(queries, tiles.T, precision=jax.lax.Precision.HIGHEST)
                local = block_start + jnp.arange(reference_block)
                # Not padding, and not already in the block before.
                real = (first_row + local < num_aerial) & (local >= block * reference_block)
                scores = jnp.where(real, scores, -jnp.inf)
                rows = jnp.broadcast_to(first_row + local, scores.shape)
                # After the best so far, whose rows are all lower: the first of equals stays first.
                return _best(
                    *(jnp.concatenate(pair, axis=1) for pair in zip(best, (scores, rows), strict=True)), k
                ), None

            none_yet = (
                jnp.full((queries.shape[0], k), -jnp.inf, jnp.float32),
                jnp.full((queries.shape[0], k), -1, first_row.dtype),
            )
            none_yet = jax.lax.pcast(none_yet, axes, to="varying")
            best, _ = jax.lax.scan(better, none_yet, jnp.arange(-(-aerial.shape[0] // reference_block)))
            # Side by side in the order of the rows.
            scores, rows = (jax.lax.all_gather(x, axes, axis=1, tiled=True, to="invarying") for x in best)
            return tuple(x.reshape(mesh.size, query_block, k) for x in _best(scores, rows, k))

        return jax.lax.map(best_of_queries, jnp.arange(-(-ground.shape[0] // query_block)))

    return search(ground, aerial, num_aerial)


def _best(scores, rows, k):
    """The k highest of [queries, candidates], best first, the first of equals first."""
    scores, place = jax.lax.top_k(scores, k)
    return scores, jnp.take_along_axis(rows, place, axis=1)
