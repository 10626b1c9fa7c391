"""What mining costs: one JSON line a figure.

    python benchmarks/mining.py [--batch 14] [--image 320] [--width 1] [--capacity 40000] [--rounds 5] [--small]

In a step: the same step of SAFA on two VGG-16 towers, forward, backward and Adam, is compiled with and without the
mining pool. The two programs take turns, so that both see the same machine. As the difference of two long steps can be
smaller than their spread, the mining is also timed by itself, and its share of the step is that time over the step's.

In an epoch, against the peer: VIGOR's authors stop after every epoch, multiply all panoramas with the pool and sort
all of each panorama's scores (NumPy on the host, float64). The peer does that here for `--queries` of them; ours
passes the same ones in batches, refreshing the pool each time, as training does. Both find the same tiles, which is
checked. The pause of a whole epoch is the peer's time scaled to VIGOR's 52,609 panoramas, in which it is linear.

The defaults are the authors' full size (`configs/same_area.py:safa_mining` with their batch of 14), which needs an
accelerator or much patience (`--no_step` leaves the step out); `--small` takes seconds.
"""

import argparse
import functools
import statistics

import jax
import jax.numpy as jnp
import numpy as np
from figures import emit, median_ratio, spread_percent, taking_turns
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from safa_step import Batches, SafaStep, Size, mine

from vigor_jax.config import OptimizerConfig
from vigor_jax.mining import pool
from vigor_jax.parallel.mesh import AXIS, data_mesh, pmap
from vigor_jax.train import optimizer, state, step

_PANORAMAS = 52_609  # that train in VIGOR's same-area protocol
_SMALL = {"batch": 8, "image": 64, "width": 0.125, "capacity": 4000, "dtype": "float32", "rounds": 3, "queries": 64}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=14, help="pairs, over all devices")
    parser.add_argument("--image", type=int, default=320, help="side of a tile; a panorama is twice as wide")
    parser.add_argument("--width", type=float, default=1.0, help="of the towers; the descriptor has 4096 times it")
    parser.add_argument("--dtype", default="bfloat16", help="of the towers' computation")
    parser.add_argument("--capacity", type=int, default=40_000, help="of the pool")
    parser.add_argument("--hardest", type=int, default=100, help="tiles found for each query")
    parser.add_argument("--queries", type=int, default=448, help="panoramas that the peer ranks, a multiple of --batch")
    parser.add_argument("--rounds", type=int, default=5, help="turns that are timed")
    parser.add_argument("--no_step", action="store_true", help="only the mining, without the step around it")
    parser.add_argument("--small", action="store_true", help="seconds on a CPU, whatever the other flags say")
    args = parser.parse_args()
    if args.small:
        vars(args).update(_SMALL)
    if args.queries % args.batch:
        parser.error(f"--queries={args.queries} is no multiple of --batch={args.batch}")
    size = Size(args.batch, args.image, args.width, args.dtype, args.capacity, args.hardest)
    mesh = data_mesh()
    _beside_the_peer(size, mesh, args.queries, args.rounds)
    if not args.no_step:
        _in_a_step(size, mesh, args.rounds)


def _in_a_step(size: Size, mesh: Mesh, rounds: int) -> None:
    batch = Batches(size, NamedSharding(mesh, PartitionSpec(AXIS)))
    adam, schedule = optimizer.create(OptimizerConfig()), optimizer.learning_rate(OptimizerConfig())
    without = Size(**(vars(size) | {"capacity": 0}))
    states, programs = {}, {}
    for name, kind in (("without", without), ("with", size)):
        task = SafaStep(kind)
        states[name] = state.create(task, adam, 0, mesh)
        programs[name] = step.make(task, adam, schedule, 0, mesh).lower(states[name], batch(0)).compile()
    number = {name: 0 for name in programs}

    def run(name: str) -> None:
        states[name], *results = programs[name](states[name], batch(number[name]))
        number[name] += 1
        jax.block_until_ready((states[name], results))

    mining = _Mining(size, mesh, queries=size.batch)
    times = taking_turns({name: functools.partial(run, name) for name in programs} | {"mining": mining.a_step}, rounds)
    assert int(jnp.sum(states["with"].carry.tile >= 0)) == min(size.capacity, (rounds + 1) * size.batch)
    for name in programs:
        emit(
            f"mining/step_{name}",
            seconds=statistics.median(times[name]),
            spread_percent=spread_percent(times[name]),
            temporary_mib=programs[name].memory_analysis().temp_size_in_bytes / 2**20,
            **size.described(),
        )
    emit(
        "mining/share_of_step_percent",
        alone=100 / median_ratio(times["without"], times["mining"]),
        by_difference=100 * (median_ratio(times["with"], times["without"]) - 1),
        limit=3.0,
        limit_is="what is asked of an accelerator",
        peer=None,
        peer_is="mining/pause_of_an_epoch_s",
        **size.described(),
    )


def _beside_the_peer(size: Size, mesh: Mesh, queries: int, rounds: int) -> None:
    mining = _Mining(size, mesh, queries)
    peer = _Peer(mining, size.hardest)
    mining.fill()
    _check_same(mining, mining.hardest(), peer())
    times = taking_turns({"ours": mining.all_queries, "one step": mining.a_step, "peer": peer}, rounds)
    steps = queries // size.batch
    scale = _PANORAMAS / queries
    pause, per_step = (statistics.median(times[name]) for name in ("peer", "one step"))
    described = size.described() | {"queries": queries}
    emit(
        "mining/of_a_step_s",
        seconds=per_step,
        spread_percent=spread_percent(times["one step"]),
        limit=_bytes_read(size) / _bandwidth(size),
        limit_is="the pool read once at the bandwidth that a sum over it reaches",
        peer=None,
        peer_is="mining/pause_of_an_epoch_s",
        **described,
    )
    emit(
        "mining/pause_of_an_epoch_s",
        ours=0.0,
        peer=pause * scale,
        peer_is=f"measured for {queries} panoramas, scaled to {_PANORAMAS}; it fits in memory only in parts",
        peer_gib=2 * _PANORAMAS * size.capacity * 8 / 2**30,
        ours_gib=size.batch * size.capacity * 4 / 2**30,
        of_a_step_is_shorter_by=pause * scale / per_step,
        **described,
    )
    emit(
        "mining/of_an_epoch_s",
        ours=statistics.median(times["ours"]) * scale,
        peer=pause * scale,
        peer_is="the same panoramas and the same tiles ranked, once",
        ratio=median_ratio(times["peer"], times["ours"]),
        spread_percent=spread_percent(times["ours"]),
        steps=steps * scale,
        **described,
    )


class _Mining:
    """A pool and the panoramas of some batches, as descriptors that are there."""

    def __init__(self, size: Size, mesh: Mesh, queries: int):
        rows, specs = PartitionSpec(AXIS), pool.partition_specs(AXIS)
        self._sharding, self._size = NamedSharding(mesh, rows), size
        rng = np.random.default_rng(1)
        self.ground = _unit(rng, queries, size.descriptor)
        self.aerial = _unit(rng, size.capacity, size.descriptor)
        self.pool = jax.jit(
            lambda: pool.empty(size.capacity, size.capacity + 1, size.descriptor, mesh.size),
            out_shardings=jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs),
        )()
        self._program = pmap(
            lambda carry, batch, aerial, ground: mine(carry, batch, aerial, ground, size.hardest, AXIS),
            mesh,
            (specs, rows, rows, rows),
            (specs, PartitionSpec()),
            donate_argnums=0,
        )
        # On the devices, where the towers leave them.
        self._queries = [self._put(block) for block in np.split(self.ground, queries // size.batch)]
        self._tiles = self._put(self.aerial[: size.batch])

    def fill(self) -> None:
        """Puts every tile in, each into the slot of its number."""
        capacity = self._size.capacity
        slots, rows = np.arange(capacity, dtype=np.int32), len(self.pool.embeddings)
        filled = self.pool.replace(
            embeddings=np.pad(self.aerial, ((0, rows - capacity), (0, 0))),
            tile=slots,
            group=np.zeros(capacity, np.int32),
            slot=np.append(slots, np.int32(-1)),
        )
        self.pool = jax.device_put(filled, jax.tree.map(lambda array: array.sharding, self.pool))

    def a_step(self) -> None:
        """What one step adds: the batch's tiles go in again, and its panoramas are ranked."""
        jax.block_until_ready(self._run(self._queries[0], np.arange(self._size.batch), self._tiles))

    def all_queries(self) -> None:
        """Every panorama, batch by batch."""
        self.hardest()

    def hardest(self) -> np.ndarray:
        """The tiles of every panorama, hardest first."""
        return np.concatenate(
            [np.asarray(self._run(block, np.arange(self._size.batch), self._tiles)) for block in self._queries]
        )

    def _run(self, ground: jax.Array, tiles: np.ndarray, aerial: jax.Array) -> jax.Array:
        # No tile is a panorama's own, so that both sides rank all of them.
        references = np.full((len(tiles), 4), -1, np.int32)
        references[:, 0] = tiles
        batch = {"references": self._put(references), "city": self._put(np.zeros(len(tiles), np.int32))}
        self.pool, found = self._program(self.pool, batch, aerial, ground)
        return found["hardest"]

    def _put(self, array: np.ndarray) -> jax.Array:
        return jax.device_put(array, self._sharding)


class _Peer:
    """The authors' ranking: one matrix of all panoramas and the pool, all of it sorted, the last of each row kept."""

    def __init__(self, mining: _Mining, kept: int):
        self._ground, self._pool = mining.ground.astype(np.float64), mining.aerial.astype(np.float64)
        self._kept = kept

    def __call__(self) -> np.ndarray:
        order = np.argsort(self._ground @ self._pool.T, axis=1)
        return np.stack([row[-self._kept :] for row in order])


def _check_same(mining: _Mining, ours: np.ndarray, peer: np.ndarray) -> None:
    """Of each panorama the tiles but those of its own batch row, which ours leaves out and the peer ranks."""
    scores = mining.ground.astype(np.float64) @ mining.aerial.astype(np.float64).T
    batch = len(mining._queries[0])
    for row, (found, expected) in enumerate(zip(ours, peer[:, ::-1], strict=True)):
        expected = expected[expected != row % batch]
        found = found[: len(expected)]
        apart = np.abs(scores[row, found] - scores[row, expected])
        assert apart.max() < 1e-6, f"panorama {row}: the two rankings differ by {apart.max():.1e}"


def _unit(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    vectors = rng.standard_normal((rows, dim), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _bytes_read(size: Size) -> float:
    return 4.0 * size.capacity * size.descriptor


@functools.cache
def _bandwidth(size: Size) -> float:
    """Bytes a second at which an array as large as the pool can be read."""
    array = jnp.ones((size.capacity, size.descriptor), jnp.float32)
    total = jax.jit(jnp.sum)
    times = taking_turns({"sum": lambda: total(array).block_until_ready()}, 5)
    return array.nbytes / statistics.median(times["sum"])


if __name__ == "__main__":
    main()
