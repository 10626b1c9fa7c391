"""Exact ranks of true references, streamed on the devices that hold the descriptors."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from vigor_jax.retrieval.errors import EvaluationError
from vigor_jax.retrieval.sharded_rows import (
    common_mesh,
    finite_lengths,
    in_row_order,
    pad_rows,
    place_rows,
    scores_of_rows,
)

# Scores closer than this share of the lengths' product are a tie. The same two vectors score a little apart at
# different places of a float32 matrix product, so an exact comparison would let a collapsed model win by chance. The
# sum of D products wanders by some sqrt(D) roundings of 2^-24: 3.8e-6 for the 4,096 numbers of a SAFA descriptor.
TIE_TOLERANCE = 4e-6


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
    query_block: int = 1024,
    reference_block: int = 4096,
) -> Ranks:
    """Rank of each query's positive among all references, by counting those that score at least as high.

    The score is the dot product in float32 at full precision; scores within TIE_TOLERANCE * |query| * |longest
    reference| are ties. One pass over the references, block by block: beyond the embeddings a device holds
    `query_block * reference_block` scores, `own + 1` blocks of `query_block` embeddings and at most one block of
    `reference_block` embeddings (16, 80 and 64 MiB at the defaults, D = 4096 and four own references), whatever the
    number of queries and references.

    NumPy arrays and arrays on one device are ranked on one device. Arrays sharded over a mesh stay where they are:
    each device counts among its own rows, and only query blocks and counts travel.

    Args:
      ground: embeddings of the queries. Rows beyond len(references) are padding.
      aerial: embeddings of the references.
      references: rows of `aerial` that show each query's place, the positive first. The same on every host.
      num_aerial: rows of `aerial` from this one on are padding; None: there is none.
      query_block: queries scored at once, over all devices.
      reference_block: references scored at once, on each device.

    Returns:
      Counts in the order of `references`, on the host.

    Raises:
      EvaluationError: nothing to rank, shapes that do not match, references out of range, non-finite embeddings.
    """
    references = np.asarray(references)
    num_aerial = aerial.shape[0] if num_aerial is None else num_aerial
    _check_shapes(ground, aerial, references, num_aerial)
    mesh = common_mesh(aerial, ground)
    aerial, ground = place_rows(aerial, mesh), place_rows(ground, mesh)

    ground_lengths = finite_lengths(ground, mesh, len(references), "ground")
    aerial_lengths = finite_lengths(aerial, mesh, num_aerial, "aerial")
    tolerance = (TIE_TOLERANCE * aerial_lengths.max() * ground_lengths).astype(np.float32)

    # A reference named twice by a query is one reference.
    first_mention = np.stack(
        [(references[:, :k] != references[:, k : k + 1]).all(axis=1) for k in range(references.shape[1])], axis=1
    )
    own = np.where(first_mention, references, -1).astype(np.int32)
    counts = _count(
        ground,
        aerial,
        place_rows(pad_rows(own, ground.shape[0], -1), mesh),
        place_rows(pad_rows(tolerance, ground.shape[0], 0), mesh),
        np.int32(num_aerial),
        mesh=mesh,
        query_block=min(-(-query_block // mesh.size), ground.shape[0] // mesh.size),
        reference_block=min(reference_block, aerial.shape[0] // mesh.size),
    )
    by_query = in_row_order(np.asarray(counts).astype(np.int64), ground.shape[0])
    positive, unrelated_positive, unrelated_best = by_query[: len(references)].T
    return Ranks(positive, unrelated_positive, unrelated_best, num_aerial)


@functools.partial(jax.jit, static_argnames=("mesh", "query_block", "reference_block"))
def _count(ground, aerial, own, tolerance, num_aerial, *, mesh, query_block, reference_block):
    """Counts [blocks, devices, query_block, 3] in the order of `Ranks`, replicated."""
    axes = mesh.axis_names
    rows = P(axes)

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(rows, rows, rows, rows, P()), out_specs=P())
    def count(ground, aerial, own, tolerance, num_aerial):
        first_row = jax.lax.axis_index(axes) * aerial.shape[0]

        def query_counts(step):
            start = jnp.minimum(step * query_block, ground.shape[0] - query_block)
            queries, mine, slack = (
                jax.lax.all_gather(
                    jax.lax.dynamic_slice_in_dim(x, start, query_block), axes, tiled=True, to="invarying"
                )
                for x in (ground, own, tolerance)
            )
            queries = queries.astype(jnp.float32)
            mine = jnp.where(mine >= 0, mine - first_row, -1)  # row of this device, if it is one
            scores = scores_of_rows(queries, aerial, mine, axes)
            positive, best = scores[:, 0], scores.max(axis=1)
            own_above = jnp.sum(scores[:, 1:] >= (positive - slack)[:, None], axis=1)

            def block_counts(block):
                block_start = jnp.minimum(block * reference_block, aerial.shape[0] - reference_block)
                tiles = jax.lax.dynamic_slice_in_dim(aerial, block_start, reference_block).astype(jnp.float32)
                similarity = jnp.matmul(queries, tiles.T, precision=jax.lax.Precision.HIGHEST)
                row = block_start + jnp.arange(reference_block)
                # Not padding, and not already counted by the block before.
                real = (first_row + row < num_aerial) & (row >= block * reference_block)
                # By index: a recomputed score of an own reference need not equal the one in this block.
                unrelated = real & (row != mine[:, :, None]).all(axis=1)
                above_positive = unrelated & (similarity >= (positive - slack)[:, None])
                above_best = unrelated & (similarity >= (best - slack)[:, None])
                return jnp.stack([above_positive.sum(axis=1), above_best.sum(axis=1)], axis=1)

            blocks = jnp.arange(-(-aerial.shape[0] // reference_block))
            unrelated = jax.lax.psum(jax.lax.map(block_counts, blocks).sum(axis=0), axes)
            counts = jnp.concatenate([own_above[:, None] + unrelated[:, :1], unrelated], axis=1)
            return counts.reshape(mesh.size, query_block, 3)

        return jax.lax.map(query_counts, jnp.arange(-(-ground.shape[0] // query_block)))

    return count(ground, aerial, own, tolerance, num_aerial)


def _check_shapes(ground, aerial, references, num_aerial: int) -> None:
    def require(condition, message):
        if not condition:
            raise EvaluationError(message)

    require(references.ndim == 2 and references.size, f"references are {references.shape}: expected [queries, own].")
    require(
        references.dtype.kind in "iu", f"references are {references.dtype}: expected rows of the aerial embeddings."
    )
    require(
        len(references) <= ground.shape[0],
        f"{len(references)} queries have references but only {ground.shape[0]} have an embedding.",
    )
    require(
        0 < num_aerial <= aerial.shape[0],
        f"num_aerial = {num_aerial}: there are {aerial.shape[0]} aerial embeddings.",
    )
    outside = (references < 0) | (references >= num_aerial)
    if outside.any():
        query, column = np.argwhere(outside)[0]
        raise EvaluationError(
            f"{int(outside.any(axis=1).sum())} queries name a reference that has no embedding; the first is query "
            f"{query} with reference {references[query, column]} of 0..{num_aerial - 1}."
        )
