"""Depthwise and 1x1 convolutions in the forms that CPUs compute fast, beside XLA's convolutions.

    python benchmarks/cpu_convolutions.py [--batch=8] [--dtype=float32] [--small]

Each figure is one layer of a network at 224 pixels: its seconds forward, and forward with the gradients of images and
kernel, of both forms in turns, and how many times as long XLA's convolution took. On accelerators
`models/depthwise_convolution.py` and `models/pointwise_convolution.py` use that one.
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
from vigor_jax.models.pointwise_convolution import convolution, matrix_product
from vigor_jax.models.shifted_sum import shifted_sum

Form = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer of a published network; `side` in pixels is of its input."""

    network: str
    side: int
    channels: int
    size: int  # of the window; 1: every output sees every channel, 3 and more: its own
    stride: int = 1
    outputs: int | None = None  # channels; None: as many


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
    Layer("mobilenet_1.0", 112, 32, 1, outputs=64),
    Layer("mobilenet_1.0", 28, 256, 1),
    Layer("mobilenet_1.0", 14, 512, 1),
    Layer("resnet50", 56, 64, 1, outputs=256),
    Layer("resnet50", 14, 1024, 1, outputs=256),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--small", action="store_true", help="two small layers, to see that it runs")
    args = parser.parse_args()
    if args.small:
        _compare(Layer("small", 8, 4, 3), 1, args.dtype, 2)
        _compare(Layer("small", 8, 4, 1), 1, args.dtype, 2)
        return
    for layer in _LAYERS:
        _compare(layer, args.batch, args.dtype, args.rounds)


def _compare(layer: Layer, batch: int, dtype: str, rounds: int) -> None:
    images = jax.random.normal(jax.random.key(0), (batch, layer.side, layer.side, layer.channels), dtype)
    kind, shape, forms = _pointwise(layer) if layer.size == 1 else _depthwise(layer)
    kernel = jax.random.normal(jax.random.key(1), shape, dtype)
    programs = {}
    for name, form in forms.items():

        def with_gradients(images: jax.Array, kernel: jax.Array, form: Form = form) -> Any:
            outputs, pull = jax.vjp(form, images, kernel)
            return outputs, pull(jnp.ones_like(outputs))

        programs[f"{name}_forward"] = _waiting(form, images, kernel)
        programs[f"{name}_with_gradients"] = _waiting(with_gradients, images, kernel)
    seconds = taking_turns(programs, rounds)
    emit(
        f"cpu_convolutions/{kind}",
        **dataclasses.asdict(layer),
        batch=batch,
        dtype=dtype,
        **{f"{name}_s": statistics.median(taken) for name, taken in seconds.items()},
        forward_ratio=median_ratio(seconds["xla_forward"], seconds["ours_forward"]),
        with_gradients_ratio=median_ratio(seconds["xla_with_gradients"], seconds["ours_with_gradients"]),
    )


def _depthwise(layer: Layer) -> tuple[str, tuple[int, ...], dict[str, Form]]:
    margins = DepthwiseConvolution(layer.size, layer.stride).margins(layer.side, layer.side)
    forms = {
        "ours": lambda images, kernel: shifted_sum(images, kernel, layer.stride, margins),
        "xla": lambda images, kernel: grouped_convolution(images, kernel, layer.stride, margins),
    }
    return "depthwise", (layer.size, layer.size, 1, layer.channels), forms


def _pointwise(layer: Layer) -> tuple[str, tuple[int, ...], dict[str, Form]]:
    return (
        "pointwise",
        (1, 1, layer.channels, layer.outputs or layer.channels),
        {"ours": matrix_product, "xla": convolution},
    )


def _waiting(program: Callable[..., Any], *arguments: jax.Array) -> Callable[[], Any]:
    compiled = jax.jit(program)
    return lambda: jax.block_until_ready(compiled(*arguments))


if __name__ == "__main__":
    main()
