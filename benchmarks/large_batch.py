"""What a large batch needs in micro-batches and at once: one JSON line a figure.

    python benchmarks/large_batch.py [--batch 512] [--micro 32] [--rounds 3] [--small] [--published]

The step of `configs/demo.py:safa` (64 px, forward, backward and Adam), on noise, encoding all pairs at once and
`--micro` at a time. The first step of both is compared, loss and every gradient. With towers that compute in float64
they must agree to 1e-5; in float32, as in training, a sum over millions of positions in another order already differs
by more than that, and either is some fifty times further from the gradient in float64. Then the two take turns. Memory
is the compiler's plan for intermediate results, beside the parameters and the images.

On CPUs the loop over micro-batches is far slower than the third that its work adds: XLA brings convolutions into the
form that its fast routines take only outside of loops (https://github.com/jax-ml/jax/issues/12868).

`--published` instead compiles, without running it, the hybrid step at VIGOR's size (VGG-16, 320 px, bfloat16) for
batches of 16 to 512 and prints the same plan; some minutes on a CPU, whose plan is not an accelerator's. `--small`
takes seconds.
"""

import argparse
import dataclasses
import functools
import statistics
import sys
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from figures import emit, median_ratio, spread_percent, taking_turns
from hybrid_step import HybridStep, HybridTask, Size, config_of, gradient_of, keeping_gradient, noise_batch
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vigor_jax import tasks
from vigor_jax.config import Config
from vigor_jax.parallel.mesh import AXIS, data_mesh, require_divisible
from vigor_jax.train import optimizer, state, step

_TOLERANCE = 1e-5
_PUBLISHED = (16, 32, 64, 128, 256, 512)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=512, help="pairs, over all devices")
    parser.add_argument("--micro", type=int, default=32, help="pairs that a device encodes at a time")
    parser.add_argument("--rounds", type=int, default=3, help="turns that are timed")
    parser.add_argument("--published", action="store_true", help="plan the memory of VIGOR's size, run nothing")
    parser.add_argument("--small", action="store_true", help="seconds on a CPU, whatever the other flags say")
    args = parser.parse_args()
    if args.small:
        vars(args).update({"batch": 16, "micro": 4, "rounds": 2, "published": False})
    mesh = data_mesh()
    require_divisible(args.batch, mesh, args.micro)
    if args.published:
        for batch in _PUBLISHED:
            _planned(batch, args.micro, mesh)
    else:
        _side_by_side(args.batch, args.micro, args.rounds, mesh, args.small)


def _side_by_side(batch: int, micro: int, rounds: int, mesh: Mesh, small: bool) -> None:
    config = _demo(batch)
    size = Size(batch, config.data.aerial_size[0], config.model.width, config.model.backbone, config.model.dtype)
    images = {view: array for view, array in noise_batch(size).items() if view in ("aerial", "ground")}
    described = dataclasses.asdict(size) | {"micro_batch": micro}
    if not small:
        with jax.enable_x64(True):
            _require_agreement(_steps(config, micro, mesh, images, "float64"), described | {"dtype": "float64"})
    steps = _steps(config, micro, mesh, images, "float32")
    if small:  # few enough pairs for float32 to be exact enough
        _require_agreement(steps, described)
    else:
        _agreement(steps, described)

    temporary = [run.compiled.memory_analysis().temp_size_in_bytes / 2**20 for run in steps.values()]
    emit(
        "large_batch/temporary_mib",
        ours=temporary[1],
        peer=temporary[0],
        peer_is="the step at once",
        ratio=temporary[0] / temporary[1],
        limit=temporary[0] * micro / (batch // mesh.size),
        limit_is="a micro-batch's share of it; below it is one tower after the other",
        **described,
    )
    times = taking_turns(steps, rounds)
    emit(
        "large_batch/step_s",
        ours=statistics.median(times["in_micro_batches"]),
        spread_percent=spread_percent(times["in_micro_batches"]),
        peer=statistics.median(times["at_once"]),
        peer_is="the step at once",
        peer_spread_percent=spread_percent(times["at_once"]),
        ratio=median_ratio(times["in_micro_batches"], times["at_once"]),
        limit=statistics.median(times["at_once"]) * 4 / 3,
        limit_is="the step at once and its forward pass again",
        **described,
    )


def _steps(
    config: Config, micro: int, mesh: Mesh, images: dict[str, np.ndarray], dtype: Literal["float32", "float64"]
) -> dict[str, HybridStep]:
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, dtype=dtype))
    adam = keeping_gradient(optimizer.create(config.optimizer))
    return {
        "at_once": HybridStep(config, mesh, images, adam),
        "in_micro_batches": HybridStep(dataclasses.replace(config, micro_batch_size=micro), mesh, images, adam),
    }


def _agreement(steps: dict[str, HybridStep], described: dict[str, Any]) -> float:
    """The largest of the differences that it prints; runs the first step."""
    losses = [run()["loss"] for run in steps.values()]
    gradients = [gradient_of(run.state.opt_state) for run in steps.values()]
    largest = {"loss": _difference(*losses), "gradient": _difference(*gradients)}
    emit(
        "large_batch/agreement",
        **largest,
        compared="the largest difference in any array, relative to its largest value, in the first step",
        limit=_TOLERANCE,
        limit_is="what is asked",
        peer=None,
        peer_is="the step at once is what is compared with",
        **described,
    )
    return max(largest.values())


def _require_agreement(steps: dict[str, HybridStep], described: dict[str, Any]) -> None:
    if not (largest := _agreement(steps, described)) < _TOLERANCE:
        sys.exit(f"The step in micro-batches is another one: they differ by {largest:.1e}.")


def _demo(batch: int) -> Config:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from configs.demo import get_config

    recipe = get_config("safa")
    recipe.batch.size = batch
    return tasks.parse(recipe)


def _difference(found: Any, expected: Any) -> float:
    each = jax.tree.map(lambda a, b: np.max(np.abs(a - b)) / np.max(np.abs(b)), *jax.device_get((found, expected)))
    return float(max(jax.tree.leaves(each)))


def _planned(batch: int, micro: int, mesh: Mesh) -> None:
    size = Size(batch, 320, 1.0, "vgg16", "bfloat16")
    plan = functools.partial(_temporary_gib, config_of(size), size, mesh)
    emit(
        "large_batch/published_temporary_gib",
        ours=None if batch % (micro * mesh.size) else plan(micro),
        peer=plan(0),
        peer_is="the step at once",
        limit=None,
        limit_is="the memory of an accelerator",
        **dataclasses.asdict(size),
        micro_batch=micro,
    )


def _temporary_gib(config: Config, size: Size, mesh: Mesh, micro: int) -> float:
    task, adam = HybridTask(dataclasses.replace(config, micro_batch_size=micro)), optimizer.create(config.optimizer)
    program = step.make(task, adam, optimizer.learning_rate(config.optimizer), 0, mesh)
    rows = NamedSharding(mesh, PartitionSpec(AXIS))
    batch = {
        name: jax.ShapeDtypeStruct((size.batch, *array.shape[1:]), array.dtype, sharding=rows)
        for name, array in noise_batch(dataclasses.replace(size, batch=1)).items()
    }
    compiled = program.lower(state.abstract(task, adam, 0, mesh), batch).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 2**30


if __name__ == "__main__":
    main()
