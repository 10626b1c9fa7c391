"""What mining costs a training step: one JSON line a figure.

    python benchmarks/mining.py [--batch 14] [--image 320] [--width 1] [--capacity 40000] [--steps 10]

The same step of SAFA on two VGG-16 towers, forward, backward and Adam, is compiled with and without the mining pool.
The two programs take turns, so that both see the same machine. As the difference of two long steps can be smaller
than their spread, the mining is also timed by itself, and its share of the step is that time over the step's. The
defaults are the full size of `configs/same_area.py:safa_mining`, which needs an accelerator or much patience.
"""

import argparse
import functools
import json
import os
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from vigor_jax.config import ModelConfig, OptimizerConfig
from vigor_jax.losses import soft_margin_triplet
from vigor_jax.mining import pool
from vigor_jax.tasks.cross_view_model import cross_view_model
from vigor_jax.tasks.task import LossOutput, WithoutCarry
from vigor_jax.train import optimizer, state, step
from vigor_jax.train.mesh import AXIS, data_mesh, pmap

_TILES = 90_618  # of VIGOR


class _Step(WithoutCarry):
    """As much of a task as a step needs."""

    def __init__(self, args: argparse.Namespace, mining: bool):
        model = ModelConfig(aggregation="safa", width=args.width, dtype=args.dtype)
        self._model = cross_view_model(model, "torchvision")
        self._args = args
        self._mining = mining
        if mining:
            self.carry_specs = pool.partition_specs(AXIS)

    def init(self, key: jax.Array) -> Any:
        image = jnp.zeros((1, self._args.image, self._args.image, 3), jnp.uint8)
        init = functools.partial(self._model.init, train=False)
        # It runs once: on CPUs LLVM's optimisation of every layer's random draws costs more than it saves.
        options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
        return jax.jit(init, compiler_options=options)(key, image, jnp.concatenate([image, image], axis=2))

    def init_carry(self, devices: int) -> Any:
        return pool.empty(self._args.capacity, _TILES, self.dim, devices) if self._mining else {}

    @property
    def dim(self) -> int:
        return 8 * int(512 * self._args.width)

    def loss(self, variables, batch, key, *, carry, axis_name):
        pairs = self._model.apply(variables, batch["aerial"], batch["ground"], train=True)
        loss = soft_margin_triplet(pairs.aerial, pairs.ground, axis_name=axis_name)
        output = LossOutput(model_state={}, metrics={})
        if self._mining:
            carry, feedback = mine(carry, batch, pairs.aerial, pairs.ground, self._args.hardest, axis_name)
            output = LossOutput(model_state={}, metrics={}, carry=carry, feedback=feedback)
        return loss, output


def mine(carry, batch, aerial, ground, k, axis_name):
    references, city = batch["references"], batch["city"]
    carry = pool.refresh(carry, references[:, 0], city, aerial, axis_name)
    return carry, {"hardest": pool.hardest(carry, ground, references, city, k, axis_name)}


def batches(args: argparse.Namespace, sharding: NamedSharding) -> Callable[[int], dict[str, jax.Array]]:
    """Noise; the tiles of a batch are all different and those of the next are others."""
    rng = np.random.default_rng(0)
    images = {
        "aerial": rng.integers(0, 256, (args.batch, args.image, args.image, 3), np.uint8),
        "ground": rng.integers(0, 256, (args.batch, args.image, 2 * args.image, 3), np.uint8),
        "city": np.zeros(args.batch, np.int32),
    }

    def batch(number: int) -> dict[str, jax.Array]:
        tiles = (number * 4 * args.batch + np.arange(4 * args.batch)) % (_TILES // args.batch // 4 * args.batch * 4)
        return jax.device_put(images | {"references": tiles.reshape(-1, 4).astype(np.int32)}, sharding)

    return batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=14, help="pairs, over all devices")
    parser.add_argument("--image", type=int, default=320, help="side of a tile; a panorama is twice as wide")
    parser.add_argument("--width", type=float, default=1.0, help="of the towers; the descriptor has 4096 times it")
    parser.add_argument("--dtype", default="bfloat16", help="of the towers' computation")
    parser.add_argument("--capacity", type=int, default=40_000, help="of the pool")
    parser.add_argument("--hardest", type=int, default=100, help="tiles found for each query")
    parser.add_argument("--steps", type=int, default=10, help="of each kind that are timed")
    args = parser.parse_args()
    mesh = data_mesh()
    batch = batches(args, NamedSharding(mesh, PartitionSpec(AXIS)))
    adam, schedule = optimizer.create(OptimizerConfig()), optimizer.learning_rate(OptimizerConfig())
    states, programs, temporary = {}, {}, {}
    for mining in (False, True):
        task = _Step(args, mining)
        states[mining] = state.create(task, adam, 0, mesh)
        compiled = step.make(task, adam, schedule, 0, mesh).lower(states[mining], batch(0)).compile()
        programs[mining] = compiled
        temporary[mining] = compiled.memory_analysis().temp_size_in_bytes

    seconds: dict[bool, list[float]] = {False: [], True: []}
    for number in range(args.steps + 1):
        for mining in (False, True):
            now = jax.block_until_ready(batch(number))
            begin = time.perf_counter()
            states[mining], *results = programs[mining](states[mining], now)
            jax.block_until_ready((states[mining], results))
            if number:  # the first one may still allocate
                seconds[mining].append(time.perf_counter() - begin)

    carry, alone = _alone(args, mesh, states[True].carry, batch, task.dim)
    assert int(jnp.sum(carry.tile >= 0)) >= min(args.capacity, args.batch)
    medians = {mining: statistics.median(times) for mining, times in seconds.items()}
    spread = max((max(times) - min(times)) / medians[mining] for mining, times in seconds.items())
    size = {
        "batch": args.batch,
        "image": args.image,
        "descriptor": task.dim,
        "dtype": args.dtype,
        "capacity": args.capacity,
        "hardest": args.hardest,
    }
    emit = functools.partial(_emit, mesh.size, size)
    emit("mining/step_without", seconds=round(medians[False], 6), spread_percent=round(100 * spread, 1))
    emit("mining/step_with", seconds=round(medians[True], 6), spread_percent=round(100 * spread, 1))
    emit("mining/alone", seconds=round(alone, 6))
    emit("mining/share_of_step", percent=round(100 * alone / medians[False], 3))
    difference = medians[True] - medians[False]
    emit("mining/share_of_step_by_difference", percent=round(100 * difference / medians[False], 3))
    emit("mining/temporary_memory", mebibytes=round((temporary[True] - temporary[False]) / 2**20, 1))


def _alone(args, mesh, carry, batch, dim) -> tuple[pool.Pool, float]:
    """The pool and the median seconds of the mining of a batch, on descriptors that are there."""
    rows, specs = PartitionSpec(AXIS), pool.partition_specs(AXIS)
    aerial, ground = (
        jax.device_put(x / np.linalg.norm(x, axis=1, keepdims=True), NamedSharding(mesh, rows))
        for x in np.random.default_rng(1).normal(size=(2, args.batch, dim)).astype(np.float32)
    )
    program = pmap(
        lambda carry, batch, aerial, ground: mine(carry, batch, aerial, ground, args.hardest, AXIS),
        mesh,
        (specs, rows, rows, rows),
        (specs, PartitionSpec()),
        donate_argnums=0,
    )
    times = []
    for number in range(max(args.steps, 10) + 1):
        now = {name: batch(args.steps + 1 + number)[name] for name in ("references", "city")}
        jax.block_until_ready(now)
        begin = time.perf_counter()
        carry, feedback = jax.block_until_ready(program(carry, now, aerial, ground))
        times.append(time.perf_counter() - begin)
    assert feedback["hardest"].shape == (args.batch, args.hardest)
    return carry, statistics.median(times[1:])


def _emit(devices: int, size: dict[str, Any], figure: str, **values: float) -> None:
    device = jax.devices()[0]
    line = {
        "figure": figure,
        **values,
        **size,
        "devices": devices,
        "device": f"{device.platform} {device.device_kind}",
        "host_cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 2),
        "jax": version("jax"),
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
