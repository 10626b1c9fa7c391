"""Which other ways to compute the training step would be faster: one JSON line a candidate.

    python benchmarks/step_candidates.py [--batch 14] [--image 320] [--width 1] [--backbone vgg16]
        [--dtype bfloat16] [--rounds 7] [--steps 3] [--only NAME,...] [--small]

Each candidate replaces one function of the hybrid step (`hybrid_step.py`, the trainer's own) and is compiled. The first
step from the same state must give the same loss; how far the gradient's norm is off is printed. Then the candidates and
the step as it is take turns. `ratio` is how many times longer the step takes as it is: above 1 the candidate is faster.
It pays on this device if it is so by more than its spread.

Two lines say what the compiled program does without being asked: how much of the state is updated where it lies, and
whether the gradient of the first layer's input, which nobody reads, is computed.

The defaults are the published sizes for an accelerator. The demo's is `--batch 32 --image 64 --width 0.125
--backbone vgg11 --dtype float32 --steps 1`; images are multiples of 32 pixels. `--small` measures a few candidates.
"""

import argparse
import contextlib
import dataclasses
import re
import statistics
from collections.abc import Callable

import jax
import step_alternatives
from figures import emit, median_ratio, spread_percent, taking_turns
from hybrid_step import HybridStep, Size, config_of, noise_batch

from vigor_jax.config import Config
from vigor_jax.parallel.mesh import data_mesh

_AS_IT_IS = "as it is"
CANDIDATES: dict[str, Callable[[], contextlib.AbstractContextManager]] = {
    "pool by one reduction": step_alternatives.pool_by_reduction,
    "pool by flax.linen.max_pool": step_alternatives.pool_by_window,
    "pool before the ReLU": step_alternatives.pool_before_relu,
    "first layer of 4 channels": lambda: step_alternatives.first_layer_padded(4),
    "first layer of 8 channels": lambda: step_alternatives.first_layer_padded(8),
    "first layer as a matrix product": step_alternatives.first_layer_as_matrix,
    "first layer in blocks of 4 pixels": step_alternatives.first_layer_in_blocks,
    "convolutions of channels first": step_alternatives.channels_first,
    "convolutions as matrix products": step_alternatives.as_matrix_products,
    "kernel gradients as matrix products": step_alternatives.kernel_gradient_as_products,
    "two aerial passes": step_alternatives.two_aerial_passes,
    "rematerialised stages": contextlib.nullcontext,  # by the config
}
_SMALL = {"batch": 8, "image": 64, "width": 0.125, "backbone": "vgg11", "dtype": "float32", "rounds": 2, "steps": 1}
_SMALL_ONLY = "pool by one reduction,pool before the ReLU,two aerial passes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=14, help="examples a step")
    parser.add_argument("--image", type=int, default=320, help="side of a tile; a panorama is twice as wide")
    parser.add_argument("--width", type=float, default=1.0, help="of the towers")
    parser.add_argument("--backbone", choices=("vgg11", "vgg16"), default="vgg16")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the computation")
    parser.add_argument("--rounds", type=int, default=7, help="turns that are timed")
    parser.add_argument("--steps", type=int, default=3, help="of a turn, between two waits for the device")
    parser.add_argument("--only", help="names of candidates; default: all")
    parser.add_argument("--small", action="store_true", help="half a minute on a CPU, whatever the other flags say")
    args = parser.parse_args()
    if args.small:
        vars(args).update(_SMALL, only=_SMALL_ONLY)
    names = args.only.split(",") if args.only else list(CANDIDATES)
    unknown = sorted(set(names) - set(CANDIDATES))
    if unknown:
        parser.error(f"--only={','.join(unknown)}: the candidates are {', '.join(CANDIDATES)}")
    size = Size(args.batch, args.image, args.width, args.backbone, args.dtype)
    steps = {_AS_IT_IS: _compiled(_AS_IT_IS, size)}
    _program(steps[_AS_IT_IS], size)
    failed = {}
    for name in names:
        try:
            steps[name] = _compiled(name, size)
        except Exception as error:  # of memory, of a form that this device's compiler does not take
            failed[name] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    first = {name: jax.device_get(step()) for name, step in steps.items()}
    times = taking_turns({name: lambda step=step: step(args.steps) for name, step in steps.items()}, args.rounds)
    for name in names:
        if name in failed:
            emit("step_candidates/candidate", name=name, ratio=None, reason=failed[name], **dataclasses.asdict(size))
            continue
        loss, norm = (first[name][key] / first[_AS_IT_IS][key] - 1 for key in ("loss", "grad_norm"))
        assert abs(loss) < (1e-5 if size.dtype == "float32" else 1e-2), f"{name}: the loss is off by {loss:.1e}"
        ratio = median_ratio(times[_AS_IT_IS], times[name])
        spread = max(spread_percent(times[_AS_IT_IS]), spread_percent(times[name]))
        emit(
            "step_candidates/candidate",
            name=name,
            ratio=ratio,
            pays=ratio > 1 + spread / 100,
            step_ms=1000 * statistics.median(times[name]) / args.steps,
            as_it_is_ms=1000 * statistics.median(times[_AS_IT_IS]) / args.steps,
            spread_percent=spread,
            memory_gib=steps[name].memory_gib,
            as_it_is_memory_gib=steps[_AS_IT_IS].memory_gib,
            loss_off=float(loss),
            gradient_norm_off=float(norm),
            **dataclasses.asdict(size),
        )


def _compiled(name: str, size: Size) -> HybridStep:
    config = config_of(size)
    if name == "rematerialised stages":
        config = _rematerialised(config)
    replacement = CANDIDATES.get(name, contextlib.nullcontext)()
    return HybridStep(config, data_mesh(jax.devices()[:1]), noise_batch(size), tracing=replacement)


def _rematerialised(config: Config) -> Config:
    return dataclasses.replace(config, model=dataclasses.replace(config.model, remat=True))


def _program(step: HybridStep, size: Size) -> None:
    """What the compiler made of the step as it is."""
    text = step.compiled.as_text()
    leaves = jax.tree.leaves(step.state)
    emit(
        "step_candidates/state_updated_in_place",
        buffers=donated_buffers(text),
        limit=len(leaves),
        limit_is="all buffers of the state",
        mib=sum(leaf.nbytes for leaf in leaves) / 2**20,
        **dataclasses.asdict(size),
    )
    emit(
        "step_candidates/image_gradients",
        computed=image_gradients(text, size),
        limit=0,
        limit_is="nobody reads the gradient of an image",
        **dataclasses.asdict(size),
    )


def donated_buffers(program: str) -> int:
    """How many results of a compiled program take over the memory of an argument."""
    header = program.splitlines()[0]
    return len(re.findall(r"(?:may|must)-alias", header))


def image_gradients(program: str, size: Size) -> int:
    """Convolutions of a compiled program whose result has the shape of a batch of images."""
    images = [sorted([3, size.image, width]) for width in (size.image, 2 * size.image)]
    found = 0
    for result in re.findall(r"= \(?\w+\[([\d,]+)\][^=]* (?:convolution|custom-call)\(", program):
        first, *rest = map(int, result.split(","))
        found += first in (size.batch, 2 * size.batch) and sorted(rest) in images
    return found


if __name__ == "__main__":
    main()
