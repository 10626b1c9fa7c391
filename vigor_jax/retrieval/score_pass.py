"""One pass over all scores of queries and references, block by block, that answers several questions at once.

To multiply the embeddings is nearly all that evaluation costs (2 Q M D operations: 3.9e13 at VIGOR's size), so ranks,
search and assisted navigation read the same blocks of scores instead of each making its own. Beyond the embeddings a
device holds one block of queries, one of references and one of scores, whatever the number of either.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from vigor_jax.parallel.sharded_rows import place_rows
from vigor_jax.retrieval.device_lists import device_lists
from vigor_jax.retrieval.embeddings import Embeddings

# Scores closer than this share of the lengths' product are a tie. The same two vectors score a little apart at
# different places of a float32 matrix product, so an exact comparison would let a collapsed model win by chance. The
# sum of D products wanders by some sqrt(D) roundings of 2^-24: 3.8e-6 for the 4,096 numbers of a SAFA descriptor.
TIE_TOLERANCE = 4e-6

# Queries and references. On a CPU a block of references is copied for each block of queries, and both stay small; an
# accelerator multiplies 4096 x 4096 in milliseconds, beside which what comes between two products is little.
CPU_BLOCKS = 1536, 1024
ACCELERATOR_BLOCKS = 4096, 4096

_LANES = 128  # a vector register's or a warp's worth of columns, several times over


class ScoreBlock(NamedTuple):
    """Scores of a block of queries with a block of one device's references."""

    scores: Float[Array, "queries block"]  # float32; -inf where there is no reference
    reference: Int[Array, "block"]  # number of the reference in its gallery, ascending; -1 where there is none
    first_slot: Int[Array, ""]

    def of(self, slots: Int[Array, "queries chosen"]) -> Float[Array, "queries chosen"]:
        """Scores of the references in these slots; -inf for those of other blocks and for -1."""
        local = slots - self.first_slot
        here = (local >= 0) & (local < self.scores.shape[1])
        chosen = jnp.take_along_axis(self.scores, jnp.where(here, local, 0), axis=1)
        return jnp.where(here, chosen, -jnp.inf)


class LocalGallery(NamedTuple):
    """A device's references, for what must be scored before the pass."""

    embeddings: Float[Array, "local dim"]
    rows: Int[Array, "slots"]  # of `embeddings`, by slot
    first_slot: Int[Array, ""]
    axes: tuple[str, ...]  # names of the mapped axes

    def scores(
        self, queries: Float[Array, "queries dim"], slots: Int[Array, "queries chosen"]
    ) -> Float[Array, "queries chosen"]:
        """Dot products of each query with references chosen for it, wherever they lie; -inf for slot -1."""

        def column(slots):
            local = slots - self.first_slot
            here = (local >= 0) & (local < self.rows.shape[0])
            rows = self.rows[jnp.where(here, local, 0)]
            score = jnp.einsum("qd,qd->q", queries, _take(self.embeddings, rows), precision=jax.lax.Precision.HIGHEST)
            return jnp.where(here, score, 0.0)

        # One at a time, as the chosen embeddings are gathered.
        scores = jax.lax.psum(jax.lax.map(column, slots.T), self.axes).T
        return jnp.where(slots >= 0, scores, -jnp.inf)


class Reader(abc.ABC):
    """What is read off the scores; hashable, as a program is compiled for it. Runs inside a mapped program."""

    @abc.abstractmethod
    def begin(
        self,
        queries: Float[Array, "queries dim"],
        slots: Int[Array, "queries chosen"],
        slack: Float[Array, "queries"],
        gallery: LocalGallery,
    ) -> tuple[Any, Any]:
        """(what stays, what `see` changes) for a block of queries, the same on every device.

        `slots` are those of the question's references; scores within `slack` of each other are a tie.
        """

    @abc.abstractmethod
    def see(self, fixed: Any, state: Any, block: ScoreBlock) -> Any:
        """The state after another block; blocks come in ascending order of references."""

    @abc.abstractmethod
    def end(self, fixed: Any, state: Any, axes: tuple[str, ...]) -> Any:
        """Results of the queries, [queries, ...], the same on every device."""


@dataclasses.dataclass(frozen=True)
class Question:
    """A reader, the references of each query that it asks about, and what its results mean."""

    reader: Reader
    references: Int[np.ndarray, "queries chosen"]  # numbers in the gallery, -1 for none
    answer: Callable[[Any], Any]  # of the reader's results as NumPy arrays in the order of the queries


def score_pass(
    ground: Embeddings,
    aerial: Embeddings,
    *questions: Question,
    query_block: int | None = None,
    reference_block: int | None = None,
) -> tuple[Any, ...]:
    """The answer to each question about the scores of all queries with all references.

    The score is the dot product in float32 at full precision. Each device scores its own references; only blocks of
    queries and results travel. Whatever part of the same arrays is asked about, one program is compiled.

    Args:
      ground: the queries.
      aerial: the references, over the same devices.
      *questions: about each query.
      query_block: queries scored at once, over all devices; None: as many as suit the kind of device.
      reference_block: references scored at once, on each device; likewise.
    """
    arrays, static, at = _asked(ground, aerial, questions, query_block, reference_block)
    found = _read(*arrays, **static)
    return tuple(
        question.answer(jax.tree.map(lambda x: np.asarray(x)[at], results))
        for question, results in zip(questions, found, strict=True)
    )


def extra_bytes(
    ground: Embeddings,
    aerial: Embeddings,
    *questions: Question,
    query_block: int | None = None,
    reference_block: int | None = None,
) -> int:
    """What a pass needs on each device beyond the embeddings, by the compiled program, which is not run.

    The embeddings' arrays may be `jax.ShapeDtypeStruct`s; the rest is as of `score_pass`.
    """
    arrays, static, _ = _asked(ground, aerial, questions, query_block, reference_block)
    needed = _read.lower(*arrays, **static).compile().memory_analysis()
    embeddings = sum(x.size * x.dtype.itemsize for x in arrays[:2]) // ground.mesh.size
    return needed.temp_size_in_bytes + needed.output_size_in_bytes + needed.argument_size_in_bytes - embeddings


def _asked(ground, aerial, questions, query_block, reference_block):
    """Arguments of `_read`: (arrays, static ones, where in its results the queries are)."""
    mesh = ground.mesh
    usual = CPU_BLOCKS if mesh.devices.flat[0].platform == "cpu" else ACCELERATOR_BLOCKS
    queries = device_lists(ground, -(-(query_block or usual[0]) // mesh.size), 8)
    references = device_lists(aerial, reference_block or usual[1], _LANES)
    slack = (TIE_TOLERANCE * aerial.lengths.max() * ground.lengths).astype(np.float32)
    slots = [np.where(q.references >= 0, references.slot[q.references], -1).astype(np.int32) for q in questions]
    arrays = (
        ground.array,
        aerial.array,
        place_rows(queries.rows, mesh),
        place_rows(references.rows, mesh),
        place_rows(references.number, mesh),
        [place_rows(queries.laid_out(x, -1), mesh) for x in slots],
        place_rows(queries.laid_out(slack, 0), mesh),
        np.array([queries.blocks, references.blocks], np.int32),
    )
    static = {
        "mesh": mesh,
        "readers": tuple(question.reader for question in questions),
        "query_block": queries.block,
        "reference_block": references.block,
    }
    return arrays, static, queries.result_at


@functools.partial(jax.jit, static_argnames=("mesh", "readers", "query_block", "reference_block"))
def _read(
    ground, aerial, query_rows, rows, number, slots, slack, blocks, *, mesh, readers, query_block, reference_block
):
    """Results of each reader, [blocks, devices * query_block, ...], replicated."""
    axes = mesh.axis_names
    split = P(axes)

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(split,) * 7 + (P(),), out_specs=P())
    def read(ground, aerial, query_rows, rows, number, slots, slack, blocks):
        first_slot = jax.lax.axis_index(axes) * rows.shape[0]
        gallery = LocalGallery(aerial, rows, first_slot, axes)

        def gathered(step):
            """A block of every device's queries, with what is asked about them, on every device."""
            chosen = _slice(query_rows, step, query_block)
            asked = jax.tree.map(lambda x: _slice(x, step, query_block), (slots, slack))
            local = _take(ground, chosen), *asked
            return jax.tree.map(lambda x: jax.lax.all_gather(x, axes, tiled=True, to="invarying"), local)

        def results(step):
            queries, chosen, tolerance = gathered(step)
            begun = [r.begin(queries, x, tolerance, gallery) for r, x in zip(readers, chosen, strict=True)]
            fixed, states = zip(*begun, strict=True)

            def see(block, states):
                reference = _slice(number, block, reference_block)
                tiles = _take(aerial, _slice(rows, block, reference_block))
                scores = jnp.matmul(queries, tiles.T, precision=jax.lax.Precision.HIGHEST)
                seen = ScoreBlock(
                    jnp.where(reference >= 0, scores, -jnp.inf), reference, first_slot + block * reference_block
                )
                return [r.see(*known, seen) for r, *known in zip(readers, fixed, states, strict=True)]

            states = jax.lax.pcast(list(states), axes, to="varying")
            states = jax.lax.fori_loop(0, blocks[1], see, states)
            return [r.end(*known, axes) for r, *known in zip(readers, fixed, states, strict=True)]

        def step_results(step, so_far):
            return jax.tree.map(
                lambda all_blocks, one: jax.lax.dynamic_update_index_in_dim(all_blocks, one, step, 0),
                so_far,
                results(step),
            )

        most = query_rows.shape[0] // query_block
        empty = jax.tree.map(lambda x: jnp.zeros((most, *x.shape), x.dtype), jax.eval_shape(results, jnp.int32(0)))
        return jax.lax.fori_loop(0, blocks[0], step_results, empty)

    return read(ground, aerial, query_rows, rows, number, slots, slack, blocks)


def count(chosen: Array) -> Int[Array, "queries"]:
    """How many of each row are true; [queries, block] -> [queries]."""
    chosen = chosen.astype(jnp.int32)
    if chosen.shape[1] % _LANES == 0:
        # Lane by lane first: along a row, CPUs would add one number at a time.
        chosen = chosen.reshape(chosen.shape[0], -1, _LANES).sum(axis=1)
    return chosen.sum(axis=1)


def _slice(array, block, size):
    return jax.lax.dynamic_slice_in_dim(array, block * size, size)


def _take(embeddings, rows):
    return embeddings.at[rows].get(mode="promise_in_bounds").astype(jnp.float32)
