"""The pool against a plain model: dictionaries, lists and loops."""

import functools
from collections.abc import Callable

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from vigor_jax.mining import pool as mining_pool
from vigor_jax.parallel.mesh import AXIS, data_mesh, pmap

DIM = 5
DEVICES = (1, 2, 3, 4, 8)
BATCH = 24  # that all of them can share


class PlainPool:
    """What the pool shall be, in plain Python."""

    def __init__(self, capacity: int):
        self.slots: list[int | None] = [None] * capacity
        self.cursor = 0
        self.content: dict[int, tuple[int, np.ndarray]] = {}  # id -> (group, embedding)

    def refresh(self, tiles, groups, embeddings) -> None:
        rows = [row for row in zip(tiles.tolist(), groups.tolist(), embeddings, strict=True) if row[0] >= 0]
        new = [row for row in rows if row[0] not in self.content]
        for tile, group, embedding in rows:
            if tile in self.content:
                self.content[tile] = (group, embedding)
        for tile, group, embedding in new:
            if self.slots[self.cursor] is not None:
                del self.content[self.slots[self.cursor]]
            self.slots[self.cursor] = tile
            self.content[tile] = (group, embedding)
            self.cursor = (self.cursor + 1) % len(self.slots)

    def hardest(self, queries, k: int, qualifies: Callable[[int, int, int], bool]) -> np.ndarray:
        """Of the tiles for which `qualifies(row of the query, tile, group)` holds."""
        found = np.full((len(queries), k), -1)
        for i, query in enumerate(queries):
            scored = [
                (-float(self.content[tile][1] @ query), slot, tile)
                for slot, tile in enumerate(self.slots)
                if tile is not None and qualifies(i, tile, self.content[tile][0])
            ]
            ids = [tile for _, _, tile in sorted(scored)[:k]]
            found[i, : len(ids)] = ids
        return found


FINE = np.arange(100) // 4 % 5  # of each tile


def cousins(asking: dict, slots: mining_pool.Slots) -> jax.Array:
    """The rule of quadruplets: tiles of the query's group that have another label than the query."""
    return (slots.group == asking["group"][:, None]) & (jnp.asarray(FINE)[slots.tile] != asking["fine"][:, None])


def asking_of(batch: dict, rule: mining_pool.Rule):
    if rule is cousins:
        return {"group": batch["groups"], "fine": batch["fine"]}
    return mining_pool.Asking(batch["references"], batch["groups"])


def plainly(batch: dict, rule: mining_pool.Rule) -> Callable[[int, int, int], bool]:
    """The rule, of one query and one tile."""
    groups, references = batch["groups"], batch["references"]
    return {
        mining_pool.other_tiles: lambda i, tile, group: tile not in references[i],
        mining_pool.other_tiles_of_group: lambda i, tile, group: tile not in references[i] and group == groups[i],
        cousins: lambda i, tile, group: group == groups[i] and FINE[tile] != batch["fine"][i],
    }[rule]


@functools.cache
def program(devices: int, k: int, rule: mining_pool.Rule):
    """`(pool, batch) -> (refreshed pool, hardest of the batch's queries)` on some devices; 0: not mapped at all."""

    def step(pool, batch):
        pool = mining_pool.refresh(pool, batch["tiles"], batch["groups"], batch["embeddings"], axis)
        return pool, mining_pool.hardest(pool, batch["queries"], asking_of(batch, rule), rule, k, axis)

    if not devices:
        axis = None
        return jax.jit(step)
    axis, specs = AXIS, mining_pool.partition_specs(AXIS)
    return pmap(step, data_mesh(jax.devices()[:devices]), (specs, P(AXIS)), (specs, P()))


def random_batch(rng: np.random.Generator, num_tiles: int, groups: int, integers: bool = True) -> dict:
    tiles = rng.permutation(np.r_[np.arange(num_tiles), np.full(BATCH, -1)])[:BATCH]
    if rng.random() < 0.3:
        tiles = np.where(rng.random(BATCH) < rng.random(), tiles, -1)
    if integers:  # scores are then exact on any number of devices, with many of them equal
        embeddings, queries = rng.integers(0, 4, (2, BATCH, DIM))
    else:
        embeddings, queries = rng.normal(size=(2, BATCH, DIM))
    return {
        "tiles": tiles.astype(np.int32),
        "groups": np.where(tiles < 0, 0, tiles % groups).astype(np.int32),
        "embeddings": embeddings.astype(np.float32),
        "queries": queries.astype(np.float32),
        "references": rng.integers(-1, num_tiles, (BATCH, 4)).astype(np.int32),
        "fine": rng.integers(0, 5, BATCH).astype(np.int32),
    }


def assert_holds(pool: mining_pool.Pool, plain: PlainPool, num_tiles: int) -> None:
    slot = np.full(num_tiles, -1)
    for i, tile in enumerate(plain.slots):
        if tile is not None:
            slot[tile] = i
    np.testing.assert_array_equal(pool.tile, [-1 if tile is None else tile for tile in plain.slots])
    np.testing.assert_array_equal(pool.group, [-1 if tile is None else plain.content[tile][0] for tile in plain.slots])
    np.testing.assert_array_equal(pool.slot, slot)
    assert int(pool.cursor) == plain.cursor
    embeddings = np.asarray(pool.embeddings)
    for i, tile in enumerate(plain.slots):
        np.testing.assert_array_equal(embeddings[i], 0 if tile is None else plain.content[tile][1])
    np.testing.assert_array_equal(embeddings[len(plain.slots) :], 0)


# Pools smaller than, equal to and larger than the gallery, in blocks that come out even and that do not; fewer and
# more sought than there are, in a block and in all.
@pytest.mark.parametrize(
    ("capacity", "num_tiles", "k", "rule"),
    [
        (24, 60, 1, mining_pool.other_tiles),
        (37, 60, 7, mining_pool.other_tiles_of_group),
        (40, 40, 7, mining_pool.other_tiles),
        (90, 50, 100, mining_pool.other_tiles_of_group),
        (37, 60, 7, cousins),
    ],
)
@pytest.mark.parametrize("devices", [0, *DEVICES])
@hypothesis.settings(deadline=None, max_examples=4)
@hypothesis.given(seed=st.integers(0, 2**32 - 1))
def test_the_pool_is_the_plain_one_on_any_number_of_devices(devices, capacity, num_tiles, k, rule, seed):
    rng = np.random.default_rng(seed)
    step = program(devices, k, rule)
    pool, plain = mining_pool.empty(capacity, num_tiles, DIM, max(devices, 1)), PlainPool(capacity)
    for _ in range(rng.integers(1, 8)):
        batch = random_batch(rng, num_tiles, groups=3)
        pool, found = step(pool, batch)
        plain.refresh(batch["tiles"], batch["groups"], batch["embeddings"])
        assert_holds(pool, plain, num_tiles)
        expected = plain.hardest(batch["queries"], k, plainly(batch, rule))
        np.testing.assert_array_equal(found, expected)
        if rule is not cousins:
            own = np.asarray(found)[:, :, None] == batch["references"][:, None]
            assert not (own & (expected >= 0)[:, :, None]).any(), "a query's own reference among its hardest"


def test_the_hardest_of_unit_vectors_are_so_to_rounding():
    capacity, num_tiles, k, rule = 37, 60, 7, mining_pool.other_tiles_of_group
    rng = np.random.default_rng(0)
    batches = [random_batch(rng, num_tiles, groups=3, integers=False) for _ in range(6)]
    for batch in batches:
        for name in ("embeddings", "queries"):
            batch[name] /= np.linalg.norm(batch[name], axis=1, keepdims=True)
    for devices in DEVICES:
        pool, plain = mining_pool.empty(capacity, num_tiles, DIM, devices), PlainPool(capacity)
        for batch in batches:
            pool, found = program(devices, k, rule)(pool, batch)
            plain.refresh(batch["tiles"], batch["groups"], batch["embeddings"])
            expected = plain.hardest(batch["queries"], k, plainly(batch, rule))
            for i, query in enumerate(batch["queries"]):
                ids = np.asarray(found)[i]
                np.testing.assert_array_equal(ids >= 0, expected[i] >= 0)
                scores, best = ([plain.content[t][1] @ query for t in row[row >= 0]] for row in (ids, expected[i]))
                np.testing.assert_allclose(scores, best, rtol=0, atol=1e-6)


def test_a_new_id_evicts_one_that_the_same_batch_refreshed():
    pool = mining_pool.empty(3, 9, 1, 1)
    for tiles in ([4, 5, 6], [4, 7, -1]):
        ids = jnp.array(tiles, jnp.int32)
        pool = mining_pool.refresh(pool, ids, ids, ids[:, None] * 1.0)
    assert pool.tile.tolist() == [7, 5, 6]
    assert pool.embeddings.ravel().tolist() == [7, 5, 6]
    assert pool.slot.tolist() == [-1, -1, -1, -1, -1, 1, 2, 0, -1]
    assert int(pool.cursor) == 1


def test_an_empty_pool_has_nothing_hard():
    batch = random_batch(np.random.default_rng(0), 60, groups=1) | {"tiles": np.full(BATCH, -1, np.int32)}
    for devices in (1, 8):
        pool, found = program(devices, 7, mining_pool.other_tiles)(mining_pool.empty(37, 60, DIM, devices), batch)
        assert (np.asarray(found) == -1).all()
        assert int(pool.cursor) == 0


def test_no_gradient_flows_into_the_pool():
    def total(embeddings):
        ids = jnp.arange(4, dtype=jnp.int32)
        return jnp.sum(mining_pool.refresh(mining_pool.empty(4, 4, 2, 1), ids, ids, embeddings).embeddings)

    assert not jax.grad(total)(jnp.ones((4, 2))).any()


def test_half_precision_is_kept_as_float32():
    ids = jnp.arange(4, dtype=jnp.int32)
    pool = mining_pool.refresh(mining_pool.empty(4, 4, 2, 1), ids, ids, jnp.full((4, 2), 0.5, jnp.bfloat16))
    assert pool.embeddings.dtype == jnp.float32
    assert (pool.embeddings == 0.5).all()


def test_a_batch_that_the_pool_cannot_hold_is_refused():
    ids = jnp.arange(3, dtype=jnp.int32)
    with pytest.raises(ValueError, match="3 rows a batch for a mining pool of 2"):
        mining_pool.refresh(mining_pool.empty(2, 9, 1, 1), ids, ids, jnp.ones((3, 1)))


def test_one_block_of_a_pool_is_not_taken_for_all_of_it():
    pool = mining_pool.empty(16, 20, 1, 8)
    block = pool.replace(embeddings=pool.embeddings[:2])
    ids = jnp.arange(2, dtype=jnp.int32)
    with pytest.raises(ValueError, match="2 rows on each of 1 devices for a mining pool of 16"):
        mining_pool.refresh(block, ids, ids, jnp.ones((2, 1)))


@pytest.mark.parametrize("devices", [1, 4])
def test_a_donated_pool_is_written_in_place_and_no_second_one_is_made(devices):
    """Where a step uses it: inside the function that is differentiated, which hands it through."""
    capacity, dim, batch, k = 4000, 256, 8, 10
    mesh, specs = data_mesh(jax.devices()[:devices]), mining_pool.partition_specs(AXIS)

    def step(pool, weights, tiles, images, references):
        def loss_of(weights):
            embeddings = images @ weights
            refreshed = mining_pool.refresh(pool, tiles, tiles, embeddings, AXIS)
            asking = mining_pool.Asking(references, tiles)
            found = mining_pool.hardest(refreshed, embeddings, asking, mining_pool.other_tiles_of_group, k, AXIS)
            return jax.lax.psum(jnp.sum(embeddings**2), AXIS), (refreshed, found)

        (_, (refreshed, found)), gradient = jax.value_and_grad(loss_of, has_aux=True)(weights)
        return refreshed, found, gradient

    rows = P(AXIS)
    program = pmap(step, mesh, (specs, P(), rows, rows, rows), (specs, P(), P()), donate_argnums=0)
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
    pool = jax.device_put(mining_pool.empty(capacity, 5000, dim, devices), shardings)
    weights, images = np.eye(dim, dtype=np.float32), np.ones((batch, dim), np.float32)
    inputs = weights, np.arange(batch, dtype=np.int32), images, np.zeros((batch, 4), np.int32)

    memory = program.lower(pool, *inputs).compile().memory_analysis()
    block = capacity // devices * dim * 4
    assert memory.alias_size_in_bytes >= block, "the pool is not given back in its own buffer"
    assert memory.temp_size_in_bytes < block / 2, "a temporary of the pool's size"
    pointers = [shard.data.unsafe_buffer_pointer() for shard in pool.embeddings.addressable_shards]
    pool, _, gradient = program(pool, *inputs)
    assert [shard.data.unsafe_buffer_pointer() for shard in pool.embeddings.addressable_shards] == pointers
    assert (np.asarray(gradient) == 2 * batch).all()
