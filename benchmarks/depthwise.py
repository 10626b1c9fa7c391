"""Depthwise convolutions as sums of shifted images, beside XLA's grouped convolution, at the sizes of three networks.

    python benchmarks/depthwise.py [--batch=8] [--dtype=float32] [--small]

Each figure is one layer of a network at 224 pixels: its seconds forward, and forward with the gradients of images and
kernel, of both forms in turns, and how many times as long the grouped convolution took. On accelerators
`models/depthwise_convolution.py` uses the grouped form.
"""

import argparse
import dataclasses
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from figures import emit, median_ratio, taking_turns

from vigor_jax.models.depthwise_convolution import DepthwiseConvolution, grouped_convolution
from vigor_jax.models.shifted_sum import shifted_sum


@dataclasses.dataclass(frozen=True)
class Layer:
    """A depthwise layer of a published network; `side` in pixels is of its input."""

    network: str
    side: int
    channels: int
    size: int
    stride: int = 1


_LAYERS = (
    Layer("mobilenet_1.0", 112, 32, 3),
    Layer("mobilenet_1.0", 56, 128, 3, stride=2),
    Layer("mobilenet_1.0", 14, 512, 3),
    Layer("efficientnet_b0", 56, 144, 5, stride=2),
    Layer("efficientnet_b0", 28, 240, 5),
    Layer("efficientnet_b0", 14, 672, 5),
    Layer("convnext_tiny", 56, 96, 7),
    Layer("convnext_tiny", 14, 384, 7),
    Layer("convnext_tiny", 7, 768, 7),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--small", action="store_true", help="one small layer, to see that it runs")
    args = parser.parse_args()
    if args.small:
        _compare(Layer("small", 8, 4, 3), 1, args.dtype, 2)
        return
    for layer in _LAYERS:
        _compare(layer, args.batch, args.dtype, args.rounds)


def _compare(layer: Layer, batch: int, dtype: str, rounds: int) -> None:
    images = jax.random.normal(jax.random.key(0), (batch, layer.side, layer.side, layer.channels), dtype)
    kernel = jax.random.normal(jax.random.key(1), (layer.size, layer.size, 1, layer.channels), dtype)
    margins = DepthwiseConvolution(layer.size, layer.stride).margins(layer.side, layer.side)
    forms = {"shifted": shifted_sum, "grouped": grouped_convolution}
    programs = {}
    for name, form in forms.items():

        def forward(images: jax.Array, kernel: jax.Array, form: Callable[..., jax.Array] = form) -> jax.Array:
            return form(images, kernel, layer.stride, margins)

        def with_gradients(images: jax.Array, kernel: jax.Array, forward: Callable[..., jax.Array] = forward) -> Any:
            outputs, pull = jax.vjp(forward, images, kernel)
            return outputs, pull(jnp.ones_like(outputs))

        programs[f"{name}_forward"] = _waiting(forward, images, kernel)
        programs[f"{name}_with_gradients"] = _waiting(with_gradients, images, kernel)
    seconds = taking_turns(programs, rounds)
    emit(
        f"depthwise/{layer.network}",
        **dataclasses.asdict(layer),
        batch=batch,
        dtype=dtype,
        **{f"{name}_s": statistics.median(taken) for name, taken in seconds.items()},
        forward_ratio=median_ratio(seconds["grouped_forward"], seconds["shifted_forward"]),
        with_gradients_ratio=median_ratio(seconds["grouped_with_gradients"], seconds["shifted_with_gradients"]),
    )


def _waiting(program: Callable[..., Any], *arguments: jax.Array) -> Callable[[], Any]:
    compiled = jax.jit(program)
    return lambda: jax.block_until_ready(compiled(*arguments))


if __name__ == "__main__":
    main()
