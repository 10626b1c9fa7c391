"""The newest embeddings of the tiles, on the devices, and the hardest of them for each query.

Where VIGOR's authors keep the embeddings of all training tiles on the host and rank 40,000 of them once an epoch
(Zhu, Yang, Chen, CVPR 2021; dataloader.py), here they stay on the devices, every step puts its own in, and every
query is ranked when it passes.

The functions run inside a mapped program, on one device's block of the embeddings and its rows of the batch, and
with `axis_name=None` on whole arrays. Their results do not depend on the number of devices, but for the rounding of
scores: the same two rows can score an ulp apart in matrix products of different shapes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

_ABSENT = -1


@struct.dataclass
class Pool:
    """Embeddings of up to `capacity` tiles, the rows over the devices, with what lies in which slot on all of them.

    Slot i is row i of the embeddings of all devices together. Rows from `capacity` on only make the blocks equally
    long; nothing is ever put there, so that the pool works alike on any number of devices.

    Attributes:
      embeddings: float32 [rows, dim]; in a mapped program this device's block of the rows.
      tile: int32 [capacity], the id in each slot; -1: none.
      group: int32 [capacity], the group (the city) of the id in each slot; -1: none.
      slot: int32 [tiles], the slot of each id; -1: not in the pool.
      cursor: int32 scalar, the slot that the next new id takes.
    """

    # Any, as the same tree also holds shapes, shardings or host arrays in place of the device arrays.
    embeddings: Any
    tile: Any
    group: Any
    slot: Any
    cursor: Any


def empty(capacity: int, num_tiles: int, dim: int, devices: int) -> Pool:
    """Makes a pool with nothing in it, whole; shard it by `partition_specs`.

    Args:
      capacity: tiles it can hold.
      num_tiles: ids are 0..num_tiles-1.
      dim: of an embedding.
      devices: that share the rows, of which there are `capacity` rounded up to a multiple of them.
    """
    return Pool(
        embeddings=jnp.zeros((-(-capacity // devices) * devices, dim), jnp.float32),
        tile=jnp.full(capacity, _ABSENT, jnp.int32),
        group=jnp.full(capacity, _ABSENT, jnp.int32),
        slot=jnp.full(num_tiles, _ABSENT, jnp.int32),
        cursor=jnp.zeros((), jnp.int32),
    )


def partition_specs(axis_name: str) -> Pool:
    """Gives a `PartitionSpec` for each array: the embeddings by rows over the axis, the rest replicated."""
    replicated = PartitionSpec()
    return Pool(
        embeddings=PartitionSpec(axis_name), tile=replicated, group=replicated, slot=replicated, cursor=replicated
    )


def refresh(
    pool: Pool,
    tiles: Int[Array, "rows"],
    groups: Int[Array, "rows"],
    embeddings: Float[Array, "rows dim"],
    axis_name: str | None = None,
) -> Pool:
    """Puts the embeddings of one batch in.

    First every id that is already in the pool is refreshed where it lies, and keeps its age. Then the new ids go in,
    in the order of the rows, each into the slot at the cursor, which moves on by one and round again: first in, first
    out. What lay there leaves the pool, even an id that this very batch has refreshed.

    No gradient flows into the pool. If the pool is donated, its embeddings are written in place.

    Args:
      pool: in a mapped program this device's part of it.
      tiles: ids, no two equal in the rows of all devices together; -1: the row is not put in.
      groups: of each row.
      embeddings: of each row; kept as float32.
      axis_name: of the mapped axis when the rows are one device's share. They count in the order of the devices; for
        an order that does not depend on how many those are, keep the rows of one example together.

    Raises:
      ValueError: the rows of all devices are more than the pool can hold; the pool's block is not one device's.
    """
    tiles, groups = _gathered(tiles, axis_name), _gathered(groups, axis_name)
    values = jax.lax.stop_gradient(embeddings).astype(jnp.float32)
    if axis_name is not None:
        values = jax.lax.all_gather(values, axis_name, tiled=True)
    capacity, num_tiles, rows = len(pool.tile), len(pool.slot), len(tiles)
    if rows > capacity:
        raise ValueError(f"{rows} rows a batch for a mining pool of {capacity}: it must hold a batch at least")
    first_row = _first_row(pool, axis_name)

    lies_in = pool.slot[jnp.maximum(tiles, 0)]
    present = (tiles >= 0) & (lies_in >= 0)
    new = (tiles >= 0) & ~present
    num_new = jnp.sum(new, dtype=jnp.int32)
    goes_to = (pool.cursor + jnp.cumsum(new, dtype=jnp.int32) - 1) % capacity
    leaves = present & ((lies_in - pool.cursor) % capacity < num_new)
    target = jnp.where(new, goes_to, lies_in)
    stays = new | (present & ~leaves)

    evicted = jnp.where(new, pool.tile[goes_to], _ABSENT)
    slot = pool.slot.at[_or_nowhere(evicted, evicted >= 0, num_tiles)].set(_ABSENT, mode="drop", unique_indices=True)
    own_rows = target - first_row
    own = stays & (own_rows >= 0) & (own_rows < len(pool.embeddings))
    slots = _or_nowhere(target, stays, capacity)
    return Pool(
        # The rows of this batch and no others: the pool is far too large for a select over all of it.
        embeddings=pool.embeddings.at[_or_nowhere(own_rows, own, len(pool.embeddings))].set(
            values, mode="drop", unique_indices=True
        ),
        tile=pool.tile.at[slots].set(tiles, mode="drop", unique_indices=True),
        group=pool.group.at[slots].set(groups, mode="drop", unique_indices=True),
        slot=slot.at[_or_nowhere(tiles, new, num_tiles)].set(target, mode="drop", unique_indices=True),
        cursor=(pool.cursor + num_new) % capacity,
    )


class Slots(NamedTuple):
    """What lies in some slots of the pool; -1 where nothing does."""

    tile: Int[Array, "slots"]
    group: Int[Array, "slots"]


class Asking(NamedTuple):
    """What `other_tiles` and `other_tiles_of_group` have to know of each query."""

    references: Int[Array, "queries own"]  # ids that are the query's own and no negatives of it; -1 names none
    group: Int[Array, "queries"]


# Which slots qualify for which queries: of a tree of arrays [queries, ...] and the slots to bool [queries, slots].
# Traced once for each device's block of the slots. What else there is to know of a tile, such as a label, a rule looks
# up by the id in an array of its own.
Rule = Callable[[Any, Slots], Bool[Array, "queries slots"]]


def other_tiles(asking: Asking, slots: Slots) -> Bool[Array, "queries slots"]:
    """Lets every tile qualify but the query's own."""
    qualifies = jnp.ones((len(asking.references), len(slots.tile)), bool)
    for column in range(asking.references.shape[1]):
        qualifies &= slots.tile != asking.references[:, column, None]
    return qualifies


def other_tiles_of_group(asking: Asking, slots: Slots) -> Bool[Array, "queries slots"]:
    """Lets the tiles of the query's group qualify, but its own."""
    return other_tiles(asking, slots) & (slots.group == asking.group[:, None])


def hardest(
    pool: Pool,
    queries: Float[Array, "rows dim"],
    asking: Any,
    rule: Rule,
    k: int,
    axis_name: str | None = None,
) -> Int[Array, "batch k"]:
    """Finds the ids of the k tiles in the pool that score highest with each query among those that qualify.

    Hardest first. Exact: each device takes the k best of its own rows, and the device that a query came from chooses
    the best of all devices' among those. The score is the dot product in float32; of equal scores the lower slot is
    first. The scores of this device's rows, and which of them qualify ([batch, rows / devices] each), are all that is
    made beside the pool.

    A program that donates the pool searches the refreshed one: were it read before it is written, XLA would copy it.

    Args:
      pool: in a mapped program this device's part of it.
      queries: embeddings.
      asking: what the rule has to know of each query, a tree of integer arrays [rows, ...].
      rule: which slots qualify; it is given the `asking` of the queries of all devices, and need not mind empty slots.
      k: tiles a query; may be more than there are in the pool.
      axis_name: of the mapped axis when the rows are one device's share.

    Returns:
      For the queries of all devices, in their order and the same on each: int32, -1 where fewer than k qualify.

    Raises:
      ValueError: the pool's block is not one device's.
    """
    queries = jax.lax.stop_gradient(queries).astype(jnp.float32)
    if axis_name is not None:
        queries = jax.lax.all_gather(queries, axis_name, tiled=True)
    asking = jax.tree.map(lambda rows: _gathered(rows, axis_name), asking)
    rows, first_row = len(pool.embeddings), _first_row(pool, axis_name)
    total = rows * _devices(axis_name)
    slots = Slots(*(_block(by_slot, first_row, rows, total) for by_slot in (pool.tile, pool.group)))
    qualifies = (slots.tile >= 0) & rule(asking, slots)

    # In full precision, which costs nothing beside reading the pool, so that how the pool is cut into blocks changes
    # no more of a score than float32 rounding must.
    scores = jnp.matmul(queries, pool.embeddings.T, precision=jax.lax.Precision.HIGHEST)
    best, row = jax.lax.top_k(jnp.where(qualifies, scores, -jnp.inf), min(k, rows))
    ids = jnp.where(best > -jnp.inf, slots.tile[row], _ABSENT)
    if axis_name is not None:
        # Each device merges what all of them found for its own queries, so that what it receives does not grow with
        # their number. Side by side in the order of the slots, for top_k puts the first of equals first.
        best, ids = (jax.lax.all_to_all(x, axis_name, split_axis=0, concat_axis=1, tiled=True) for x in (best, ids))
        best, place = jax.lax.top_k(best, min(k, best.shape[1]))
        ids = _gathered(jnp.take_along_axis(ids, place, axis=1), axis_name)
    return jnp.pad(ids, ((0, 0), (0, k - ids.shape[1])), constant_values=_ABSENT)


def _devices(axis_name: str | None) -> int:
    return 1 if axis_name is None else jax.lax.axis_size(axis_name)


def _first_row(pool: Pool, axis_name: str | None) -> Int[Array, ""] | int:
    """The slot of this device's first row."""
    rows, capacity, devices = len(pool.embeddings), len(pool.tile), _devices(axis_name)
    if rows * devices < capacity:
        raise ValueError(
            f"{rows} rows on each of {devices} devices for a mining pool of {capacity}: is the pool one device's "
            "block, in a program that is mapped over all of them?"
        )
    return 0 if axis_name is None else jax.lax.axis_index(axis_name) * rows


def _gathered(x: Int[Array, "rows *each"], axis_name: str | None) -> Int[Array, "batch *each"]:
    """The rows of all devices, provably the same on each of them."""
    return x if axis_name is None else jax.lax.all_gather(x, axis_name, tiled=True, to="invarying")


def _block(by_slot: Int[Array, "capacity"], first_row, rows: int, total: int) -> Int[Array, "rows"]:
    """What belongs to the rows of this device."""
    padded = jnp.pad(by_slot, (0, total - len(by_slot)), constant_values=_ABSENT)
    return jax.lax.dynamic_slice_in_dim(padded, first_row, rows)


def _or_nowhere(index: Int[Array, "rows"], condition: Bool[Array, "rows"], size: int) -> Int[Array, "rows"]:
    """The index where the condition holds, elsewhere one past the end, another in each row."""
    return jnp.where(condition, index, size + jnp.arange(len(index), dtype=jnp.int32))
