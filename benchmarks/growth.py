"""How cost grows with batch, image, gallery, pool and devices: one JSON line a point.

    python benchmarks/growth.py [--what=batch,image,gallery,pool,devices] [--rounds 5] [--small]

batch, image: a training step of SAFA with mining (`safa_step.py`), seconds beside the operations and the temporary
memory that the compiled program says it needs. gallery: exact ranks and the five best of 256 queries among up to a
million references. pool: the mining of one step. devices: bytes exchanged by a step, read off the programs compiled
for 1 to 256 forced host devices and compared with the sum on paper, which is then also given for the full size; with
up to eight devices the step is run as well.

On an accelerator the sizes are those of VIGOR, on a CPU a hundredth of them.
"""

import argparse
import dataclasses
import functools
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import exchanged_bytes
import jax
import jax.numpy as jnp
import numpy as np
from figures import emit, spread_percent, taking_turns
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from safa_step import Batches, SafaStep, Size, mine, shapes

from vigor_jax.config import OptimizerConfig
from vigor_jax.mining import pool
from vigor_jax.parallel.mesh import AXIS, data_mesh, pmap
from vigor_jax.retrieval.ranks import ranks
from vigor_jax.retrieval.top_k import top_k
from vigor_jax.train import optimizer, state, step

_FULL = Size(batch=14, image=320, width=1.0, dtype="bfloat16", capacity=40_000, hardest=100)
_ON_A_CPU = Size(batch=8, image=64, width=0.125, dtype="float32", capacity=4000, hardest=20)
_DEVICES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_QUERIES = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = {"batch": _batch, "image": _image, "gallery": _gallery, "pool": _pool, "devices": _devices}
    parser.add_argument("--what", default=",".join(kinds), help="which of them, joined by commas")
    parser.add_argument("--rounds", type=int, default=5, help="turns that are timed")
    parser.add_argument("--small", action="store_true", help="two points each, seconds on a CPU")
    parser.add_argument("--compile_for", type=int, help=argparse.SUPPRESS)  # of `_devices`, in a process of its own
    args = parser.parse_args()
    if args.compile_for:
        print(json.dumps(_exchanged(args.compile_for)))
        return
    for what in args.what.split(","):
        if what not in kinds:
            parser.error(f"--what={what}: there are {', '.join(kinds)}")
        kinds[what](args.rounds, args.small)


def _base() -> Size:
    return _ON_A_CPU if jax.default_backend() == "cpu" else _FULL


def _batch(rounds: int, small: bool) -> None:
    sizes = (8, 16) if small else (8, 16, 32, 64)
    _steps("growth/batch", [dataclasses.replace(_base(), batch=batch) for batch in sizes], rounds)


def _image(rounds: int, small: bool) -> None:
    image = _base().image
    sides = (image, 2 * image) if small else (image, image * 3 // 2, image * 2)
    _steps("growth/image", [dataclasses.replace(_base(), image=side, batch=8) for side in sides], rounds)


def _steps(figure: str, sizes: list[Size], rounds: int) -> None:
    mesh = data_mesh()
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    adam = optimizer.create(OptimizerConfig())
    update = {size: _compiled(SafaStep(size), size, mesh) for size in sizes}
    states = {size: state.create(SafaStep(size), adam, 0, mesh) for size in sizes}
    batches = {size: Batches(size, sharding)(0) for size in sizes}

    def run(size: Size) -> None:
        states[size], *_ = jax.block_until_ready(update[size](states[size], batches[size]))

    times = taking_turns({size: functools.partial(run, size) for size in sizes}, rounds)
    for size in sizes:
        seconds = statistics.median(times[size])
        operations = update[size].cost_analysis()["flops"]
        emit(
            figure,
            seconds=seconds,
            spread_percent=spread_percent(times[size]),
            ms_a_pair=1000 * seconds / size.batch,
            gflop=operations / 1e9,
            gflop_per_s=operations / 1e9 / seconds,
            temporary_mib=update[size].memory_analysis().temp_size_in_bytes / 2**20,
            **size.described(),
        )


def _compiled(task: SafaStep, size: Size, mesh: Mesh, **options: Any) -> jax.stages.Compiled:
    """The step's program for arrays that are not made."""
    adam, schedule = optimizer.create(OptimizerConfig()), optimizer.learning_rate(OptimizerConfig())
    rows = NamedSharding(mesh, PartitionSpec(AXIS))
    batch = {name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows) for name, x in shapes(size).items()}
    into = state.abstract(task, adam, 0, mesh)
    return step.make(task, adam, schedule, 0, mesh).lower(into, batch).compile(**options)


def _gallery(rounds: int, small: bool) -> None:
    dim = 64 if jax.default_backend() == "cpu" else 4096
    sizes = (1_000, 10_000) if small else (1_000, 10_000, 100_000, 1_000_000)
    rng = np.random.default_rng(0)
    ground = jnp.asarray(rng.standard_normal((_QUERIES, dim), np.float32))
    aerial = jax.jit(lambda: jax.random.normal(jax.random.key(0), (max(sizes), dim)))()
    references = rng.integers(0, sizes[0], (_QUERIES, 4))
    for size in sizes:
        gallery = jax.block_until_ready(aerial[:size])
        times = taking_turns(
            {
                "ranks": functools.partial(ranks, ground, gallery, references),
                "top_k": functools.partial(top_k, ground, gallery, 5),
            },
            rounds,
        )
        emit(
            "growth/gallery",
            ranks_s=statistics.median(times["ranks"]),
            top_5_s=statistics.median(times["top_k"]),
            spread_percent=max(map(spread_percent, times.values())),
            ranks_ns_a_pair=1e9 * statistics.median(times["ranks"]) / size / _QUERIES,
            references=size,
            queries=_QUERIES,
            descriptor=dim,
        )


def _pool(rounds: int, small: bool) -> None:
    base = dataclasses.replace(_base(), width=0.125, batch=16)
    sizes = (1_000, 4_000) if small else (1_000, 10_000, 40_000, 100_000)
    mesh = data_mesh()
    rows, specs = PartitionSpec(AXIS), pool.partition_specs(AXIS)
    sharding = NamedSharding(mesh, rows)
    rng = np.random.default_rng(0)
    aerial, ground = (
        jax.device_put(rng.standard_normal((base.batch, base.descriptor), np.float32), sharding) for _ in range(2)
    )
    program = pmap(
        lambda carry, batch, aerial, ground: mine(carry, batch, aerial, ground, base.hardest, AXIS),
        mesh,
        (specs, rows, rows, rows),
        (specs, PartitionSpec()),
        donate_argnums=0,
    )
    for capacity in sizes:
        size = dataclasses.replace(base, capacity=capacity)
        batch = {name: Batches(size, sharding)(0)[name] for name in ("references", "city")}
        holder = [
            jax.jit(
                functools.partial(SafaStep(size).init_carry, mesh.size),
                out_shardings=jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs),
            )()
        ]

        def run(holder=holder, batch=batch) -> None:
            holder[0], _ = jax.block_until_ready(program(holder[0], batch, aerial, ground))

        times = taking_turns({"mining": run}, rounds)["mining"]
        emit(
            "growth/pool",
            seconds=statistics.median(times),
            spread_percent=spread_percent(times),
            pool_mib=4 * capacity * size.descriptor / 2**20,
            **size.described(),
        )


def _devices(rounds: int, small: bool) -> None:
    del rounds
    full = _parameter_bytes(_FULL)
    for devices in _DEVICES[:3] if small else _DEVICES:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
        found = json.loads(
            subprocess.run(
                [sys.executable, __file__, f"--compile_for={devices}"],
                env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
                stdout=subprocess.PIPE,
                check=True,
                text=True,
                cwd=Path(__file__).parent,
            ).stdout
        )
        paper = exchanged_bytes.of_a_step(
            devices, batch=14 * devices, dim=_FULL.descriptor, hardest=_FULL.hardest, parameter_bytes=full
        )
        emit(
            "growth/devices",
            devices=devices,
            small_program_bytes=found["program"] if devices > 1 else None,
            small_paper_bytes=found["paper"],
            ran=found["ran"],
            full_paper_bytes=paper,
            full_received_mib=exchanged_bytes.received(paper, devices) / 2**20,
            full_parameter_mib=full / 2**20,
            full_batch=14 * devices,
        )


def _exchanged(devices: int) -> dict[str, Any]:
    """Of a small step for that many devices, the devices of this process."""
    mesh = data_mesh()
    assert mesh.size == devices
    size = Size(batch=2 * devices, image=64, width=0.0625, dtype="float32", capacity=16 * devices, hardest=8)
    task = SafaStep(size)
    # What is exchanged does not depend on how well the rest is compiled.
    program = _compiled(task, size, mesh, compiler_options={"xla_backend_optimization_level": 0})
    found = exchanged_bytes.in_program(program.as_text())
    paper = exchanged_bytes.of_a_step(
        devices,
        batch=size.batch,
        dim=size.descriptor,
        hardest=size.hardest,
        parameter_bytes=_parameter_bytes(size),
    )
    ran = devices <= 8
    if ran:
        batch = Batches(size, NamedSharding(mesh, PartitionSpec(AXIS)))(0)
        started = state.create(task, optimizer.create(OptimizerConfig()), 0, mesh)
        after, metrics, *_ = program(started, batch)
        assert int(after.step) == 1
        assert np.isfinite(float(metrics["loss"]))
    if devices > 1:  # a collective over one device copies, and what it copies is of no interest
        # Beside what is on paper, some sums of single numbers: the loss.
        apart = {kind: found[kind] - paper[kind] for kind in paper}
        assert all(0 <= bytes_ <= 64 for bytes_ in apart.values()), f"{devices} devices: {found}, on paper {paper}"
    return {"program": found, "paper": paper, "ran": ran}


def _parameter_bytes(size: Size) -> int:
    variables = jax.eval_shape(SafaStep(size).init, jax.random.key(0))
    return sum(4 * leaf.size for leaf in jax.tree.leaves(variables["params"]))


if __name__ == "__main__":
    main()
