"""Where the time of the training step goes: each convolution by itself, beside PyTorch's; one JSON line a layer.

    python benchmarks/step_layers.py [--batch 14] [--image 320] [--width 1] [--backbone vgg16] [--dtype bfloat16]
        [--rounds 7] [--no_peer] [--small]

Of every layer on panoramas (`--image` high, twice as wide) three products are timed in turns: forward, the gradient of
its input and that of its kernel; the first layer's input gradient, which training never computes, is left out. The
line holds the rates of both libraries in GFLOP/s and how much longer ours takes than the peer's (above 1: the peer is
faster), the last one their sum over the layers. What the whole step takes beyond that sum are bias, ReLU, pools,
aggregation, loss and optimiser.

Inputs are on the device, channels-last, and both libraries' results are compared. On a CPU nothing else may run beside
it (see `train_step.py`). The defaults are for an accelerator; the demo's size is `--batch 32 --image 64 --width 0.125
--backbone vgg11 --dtype float32`. `--small` takes seconds.
"""

import argparse
import dataclasses
import os
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from figures import emit, median_ratio, taking_turns
from hybrid_step import Size
from operation_count import Layer, vgg_layers
from train_step import reason_without_peer

_SMALL = {"batch": 4, "image": 32, "width": 0.125, "backbone": "vgg11", "dtype": "float32", "rounds": 2}
_KINDS = ("forward", "input_gradient", "kernel_gradient")
Times = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=14, help="panoramas")
    parser.add_argument("--image", type=int, default=320, help="their height")
    parser.add_argument("--width", type=float, default=1.0, help="of the tower")
    parser.add_argument("--backbone", choices=("vgg11", "vgg16"), default="vgg16")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the computation")
    parser.add_argument("--rounds", type=int, default=7, help="turns that are timed")
    parser.add_argument("--no_peer", action="store_true", help="without PyTorch")
    parser.add_argument("--small", action="store_true", help="seconds on a CPU, whatever the other flags say")
    args = parser.parse_args()
    if args.small:
        vars(args).update(_SMALL)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    no_peer = "--no_peer" if args.no_peer else reason_without_peer()
    size = Size(args.batch, args.image, args.width, args.backbone, args.dtype)
    sums: dict[str, Times] = {library: {kind: [0.0] * args.rounds for kind in _KINDS} for library in ("jax", "torch")}
    flop = dict.fromkeys(_KINDS, 0)
    for layer in vgg_layers(size.configuration, size.width, size.image, 2 * size.image):
        kinds = _KINDS if layer.channels_in > 3 else ("forward", "kernel_gradient")
        operations = 2 * layer.multiply_adds * size.batch
        times = _times(layer, size, kinds, args.rounds, with_peer=no_peer is None)
        for library, by_kind in times.items():
            for kind, seconds in by_kind.items():
                sums[library][kind] = [a + b for a, b in zip(sums[library][kind], seconds, strict=True)]
        flop.update({kind: flop[kind] + operations for kind in kinds})
        _emit(layer.name, times, dict.fromkeys(kinds, operations), no_peer, size)
    _emit("all", {library: sums[library] for library in times}, flop, no_peer, size)


def _emit(layer: str, times: dict[str, Times], flop: dict[str, int], no_peer: str | None, size: Size) -> None:
    values: dict[str, Any] = {}
    for kind, operations in flop.items():
        ours, peers = times["jax"][kind], times.get("torch", {}).get(kind)
        values[f"{kind}_ms"] = 1000 * statistics.median(ours)
        values[f"{kind}_gflop_per_s"] = operations / statistics.median(ours) / 1e9
        values[f"{kind}_peer"] = operations / statistics.median(peers) / 1e9 if peers else None
        values[f"{kind}_times_peer"] = median_ratio(ours, peers) if peers else None
    emit("step_layers/layer", layer=layer, **values, peer_is=no_peer or "PyTorch", **dataclasses.asdict(size))


def _times(layer: Layer, size: Size, kinds: tuple[str, ...], rounds: int, with_peer: bool) -> dict[str, Times]:
    """Seconds of each product by library and kind."""
    rng = np.random.default_rng(0)
    shape = (size.batch, layer.height, layer.width)
    images = rng.normal(size=(*shape, layer.channels_in)).astype(np.float32)
    gradient = rng.normal(size=(*shape, layer.channels_out)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, layer.channels_in, layer.channels_out)).astype(np.float32)
    libraries = {"jax": _ours(images, kernel, gradient, size.dtype)}
    if with_peer:
        libraries["torch"] = _peers(images, kernel, gradient, size.dtype)
        for kind in kinds:
            ours, peers = (np.asarray(libraries[library][kind](), np.float32) for library in ("jax", "torch"))
            apart = np.linalg.norm(ours - peers) / np.linalg.norm(peers)
            assert apart < 0.02, f"{layer.name}: {kind} differs from PyTorch's by {apart:.1e}"
    programs = {
        f"{library} {kind}": lambda program=by_kind[kind]: program(wait_only=True)
        for library, by_kind in libraries.items()
        for kind in kinds
    }
    seconds = taking_turns(programs, rounds)
    return {library: {kind: seconds[f"{library} {kind}"] for kind in kinds} for library in libraries}


def _ours(images: np.ndarray, kernel: np.ndarray, gradient: np.ndarray, dtype: str) -> dict[str, Callable[..., Any]]:
    images, kernel, gradient = (jnp.asarray(array, dtype) for array in (images, kernel, gradient))

    def forward(images: jax.Array, kernel: jax.Array) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=layout)

    def to_images(images: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
        return jax.vjp(lambda images: forward(images, kernel), images)[1](gradient)[0]

    def to_kernel(images: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
        return jax.vjp(lambda kernel: forward(images, kernel), kernel)[1](gradient)[0]

    calls = (
        (jax.jit(forward), (images, kernel)),
        (jax.jit(to_images), (images, kernel, gradient)),
        (jax.jit(to_kernel), (images, kernel, gradient)),
    )
    return {kind: _waiting(program, args) for kind, (program, args) in zip(_KINDS, calls, strict=True)}


def _waiting(program: Callable[..., jax.Array], args: tuple[jax.Array, ...]) -> Callable[..., Any]:
    def call(wait_only: bool = False) -> Any:
        result = jax.block_until_ready(program(*args))
        return None if wait_only else result.astype(jnp.float32)

    return call


def _peers(images: np.ndarray, kernel: np.ndarray, gradient: np.ndarray, dtype: str) -> dict[str, Callable[..., Any]]:
    import torch

    torch.backends.cudnn.benchmark = True
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"

    def tensor(array: np.ndarray, *order: int) -> torch.Tensor:
        moved = torch.from_numpy(array).to(device, getattr(torch, dtype)).permute(order)
        return moved.contiguous(memory_format=torch.channels_last)

    images, kernel, gradient = tensor(images, 0, 3, 1, 2), tensor(kernel, 3, 2, 0, 1), tensor(gradient, 0, 3, 1, 2)

    def backward(*wanted: bool) -> tuple[torch.Tensor, ...]:
        return torch.ops.aten.convolution_backward(
            gradient, images, kernel, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [*wanted, False]
        )

    calls = (
        (lambda: torch.nn.functional.conv2d(images, kernel, padding=1), (0, 2, 3, 1)),
        (lambda: backward(True, False)[0], (0, 2, 3, 1)),
        (lambda: backward(False, True)[1], (2, 3, 1, 0)),
    )

    def waiting(program: Callable[[], torch.Tensor], order: tuple[int, ...]) -> Callable[..., Any]:
        def call(wait_only: bool = False) -> Any:
            with torch.no_grad():
                result = program()
            if device == "cuda":
                torch.cuda.synchronize()
            return None if wait_only else result.float().permute(order).cpu().numpy()

        return call

    return {kind: waiting(*call) for kind, call in zip(_KINDS, calls, strict=True)}


if __name__ == "__main__":
    main()
