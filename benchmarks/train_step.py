"""The hybrid training step, beside the same step in PyTorch: one JSON line a figure.

    python benchmarks/train_step.py [--batch 14,32,64] [--image 320] [--width 1] [--backbone vgg16]
        [--dtype bfloat16] [--rounds 7] [--steps 5] [--peak_tflops T] [--no_peer] [--check] [--small]

A step is forward, backward and Adam of SAFA on two towers with the triplet, the IOU and the offset loss; an example
is a panorama, its positive and one semi-positive tile. Ours is the trainer's own compiled step and the task's own loss.
The peer is the same model, loss and optimiser in PyTorch: channels-last, bfloat16 autocast, fused Adam, eager and under
`torch.compile`. Both start from the same weights and are first compared at a small size in float32: the loss, the
gradient of every parameter, and the losses of some steps of Adam must agree, or nothing is measured. Then they take
turns of `--steps` steps on batches that are already on the device.

The limit is the operations of the layers (`operation_count.py`) at the rate of a large matrix product of the same type
on the same device, the faster of the two libraries'. Memory is what the program needs at most: ours by the compiler's
plan, the peer's by its allocator's count, which it has on GPUs alone. In float32 on a GPU both may use TF32.

On a CPU nothing else may run beside it: PyTorch's threads wait for each other in every layer, so that it loses more by
a busy core than we do. The demo's size is `--batch 32 --image 64 --width 0.125 --backbone vgg11 --dtype float32
--steps 1`.

The defaults are the published sizes for an accelerator. `--small` takes a minute on two CPU cores. PyTorch is in the
extra `bench`; without it the peer is null, and the reason is said.
"""

import argparse
import dataclasses
import importlib.util
import os
import statistics
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from figures import emit, median_ratio, spread_percent, taking_turns
from hybrid_step import HybridStep, Size, config_of, gradient_of, keeping_gradient, noise_batch
from operation_count import hybrid_step_flop
from product_rate import measured_peak

from vigor_jax.config import Config, OptimizerConfig
from vigor_jax.parallel.mesh import data_mesh
from vigor_jax.train import optimizer

_PEERS = {"pytorch_eager": False, "pytorch_compile": True}  # compiled?
_SMALL = {"batch": "8", "image": 64, "width": 0.125, "backbone": "vgg11", "dtype": "float32", "rounds": 3, "steps": 1}
_CHECKED_STEPS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", default="14,32,64", help="examples a step, one size or several")
    parser.add_argument("--image", type=int, default=320, help="side of a tile; a panorama is twice as wide")
    parser.add_argument("--width", type=float, default=1.0, help="of the towers")
    parser.add_argument("--backbone", choices=("vgg11", "vgg16"), default="vgg16")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the computation")
    parser.add_argument("--rounds", type=int, default=7, help="turns that are timed")
    parser.add_argument("--steps", type=int, default=5, help="of a turn, between two waits for the device")
    parser.add_argument("--peak_tflops", type=float, help="the device's rate; default: measured")
    parser.add_argument("--no_peer", action="store_true", help="without PyTorch")
    parser.add_argument("--check", action="store_true", help="compare with the peer, measure nothing")
    parser.add_argument("--small", action="store_true", help="a minute on a CPU, whatever the other flags say")
    args = parser.parse_args()
    if args.small:
        vars(args).update(_SMALL)
    # Two libraries share the device.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    no_peer = "--no_peer" if args.no_peer else reason_without_peer()
    if no_peer is None:
        emit("train_step/check", **check(args.backbone))
    elif args.check:
        parser.error(f"there is no peer to compare with: {no_peer}")
    if args.check:
        return
    peak = args.peak_tflops * 1e12 if args.peak_tflops else measured_peak(args.dtype, no_peer is None)
    source = "--peak_tflops" if args.peak_tflops else "a large matrix product on this device"
    emit("train_step/peak", tflop_per_s=peak / 1e12, measured_by=source, dtype=args.dtype)
    for batch in map(int, args.batch.split(",")):
        size = Size(batch, args.image, args.width, args.backbone, args.dtype)
        _measure(size, args.rounds, args.steps, peak, no_peer)


def reason_without_peer() -> str | None:
    """Why PyTorch cannot run beside JAX here; None if it can."""
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed (pip install -e '.[bench]')"
    platform = jax.default_backend()
    if platform not in ("cpu", "gpu"):
        return f"PyTorch is not measured on {platform}"
    import torch

    if platform == "gpu" and not torch.cuda.is_available():
        return "the installed PyTorch does not see the GPU"
    return None


def check(backbone: str = "vgg16") -> dict[str, Any]:
    """How far ours and the peer's are apart at a small size in float32, as shares of the values.

    Raises:
      AssertionError: further than rounding explains.
    """
    size = Size(batch=4, image=64, width=0.125, backbone=backbone, dtype="float32")
    # Heads that differ: from the authors' start all descriptors are nearly alike, and rounding is much of the rest.
    config = dataclasses.replace(config_of(size, aggregation_std=0.04), optimizer=OptimizerConfig(learning_rate=1e-4))
    batch = noise_batch(size)
    with jax.default_matmul_precision("highest"):
        ours = HybridStep(config, _mesh(), batch, keeping_gradient(optimizer.create(config.optimizer)))
    peer = _peer_step(size, jax.device_get(ours.state.params), batch, config=config, exact=True)
    losses, losses_of_peer, gradients = [], [], None
    for _ in range(_CHECKED_STEPS):
        losses.append(float(ours()["loss"]))
        losses_of_peer.append(float(peer()))
        gradients = gradients or (jax.device_get(gradient_of(ours.state.opt_state)), peer.gradients())
    by_parameter = jax.tree.map(_apart, *gradients)
    apart, by_step = jax.tree.leaves(by_parameter), list(map(_apart, losses, losses_of_peer))
    assert losses[-1] < 0.99 * losses[0], f"the updates change little: {losses}"
    # Where two values of a pool's window are equal but for rounding, the libraries may choose another each, and the
    # layers below then differ by the share of that one window: hence the median, and a wider bound for the worst.
    typical, worst = statistics.median(apart), max(apart)
    assert typical < 3e-5, f"gradients differ from PyTorch's: {by_parameter}"
    assert worst < 0.02, f"gradients differ from PyTorch's: {by_parameter}"
    assert by_step[0] < 1e-5, f"losses differ from PyTorch's: {losses}, {losses_of_peer}"
    # Adam's first updates turn the least gradient into a whole step, and rounding decides the sign of some.
    assert max(by_step) < 1e-4, f"losses differ from PyTorch's: {losses}, {losses_of_peer}"
    return {
        "gradient_apart": typical,
        "worst_gradient_apart": worst,
        "first_loss_apart": by_step[0],
        "last_loss_apart": by_step[-1],
        "losses": [round(loss, 5) for loss in losses],
    }


def _apart(ours: Any, peers: Any) -> float:
    return float(np.linalg.norm(np.subtract(ours, peers)) / np.linalg.norm(peers))


def _measure(size: Size, rounds: int, steps: int, peak: float, no_peer: str | None) -> None:
    """Prints the figures of all methods at one size."""
    config, batch = config_of(size), noise_batch(size)
    failed = dict.fromkeys(_PEERS, no_peer)
    programs: dict[str, Callable[[], Any]] = {}
    memory: dict[str, float | None] = {}
    try:
        ours = HybridStep(config, _mesh(), batch)
        params = jax.device_get(ours.state.params)
        ours(steps)
    except jax.errors.JaxRuntimeError as error:
        emit("train_step/vigor_jax", examples_per_s=None, reason=_short(error), **dataclasses.asdict(size))
        return
    programs["vigor_jax"], memory["vigor_jax"] = lambda: ours(steps), ours.memory_gib
    for name, compiled in _PEERS.items():
        if failed[name] is None:
            try:
                peer = _peer_step(size, params, batch, config=config, compiled=compiled)
                memory[name] = _torch_peak_gib(peer, steps)
                programs[name] = lambda peer=peer: peer(steps)
            except Exception as error:  # of the compiler, of a missing C++ compiler, of memory: the peer's own
                failed[name] = _short(error)
    times = taking_turns(programs, rounds)
    flop = hybrid_step_flop(size.configuration, size.width, size.image, size.batch)
    for name in ("vigor_jax", *_PEERS):
        if name not in times:
            emit(f"train_step/{name}", examples_per_s=None, reason=failed[name], **dataclasses.asdict(size))
            continue
        seconds = statistics.median(times[name]) / steps
        emit(
            f"train_step/{name}",
            examples_per_s=size.batch / seconds,
            limit=size.batch * peak / flop,
            limit_is="the layers' operations at the rate of train_step/peak",
            limit_percent=100 * flop / seconds / peak,
            step_ms=1000 * seconds,
            spread_percent=spread_percent(times[name]),
            tflop_per_s=flop / seconds / 1e12,
            memory_gib=memory[name],
            **dataclasses.asdict(size),
        )
    for name in _PEERS:
        emit(
            f"train_step/times_{name}",
            ratio=median_ratio(times[name], times["vigor_jax"]) if name in times else None,
            limit=None,
            limit_is="see train_step/vigor_jax",
            peer=1.0 if name in times else None,
            peer_is=failed[name] or f"train_step/{name}, in turns with ours",
            **dataclasses.asdict(size),
        )


def _mesh() -> jax.sharding.Mesh:
    """One device, as the peer has."""
    return data_mesh(jax.devices()[:1])


def _peer_step(
    size: Size,
    params: Any,
    batch: dict[str, np.ndarray],
    *,
    config: Config,
    compiled: bool = False,
    exact: bool = False,
) -> Any:
    from step_peer.step import PeerStep

    return PeerStep(
        size.configuration,
        params,
        batch,
        loss=config.loss,
        optimizer=config.optimizer,
        dtype=size.dtype,
        compiled=compiled,
        exact=exact,
        device="cuda" if jax.default_backend() == "gpu" else "cpu",
    )


def _torch_peak_gib(peer: Any, steps: int) -> float | None:
    """Of a turn, which also compiles what is to be compiled; None where PyTorch does not count."""
    import torch

    peer(1)
    if not torch.cuda.is_available():
        return None
    torch.cuda.reset_peak_memory_stats()
    peer(steps)
    return torch.cuda.max_memory_allocated() / 2**30


def _short(error: Exception) -> str:
    """The first line of what an error says, for a figure that it prevented."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:300]


if __name__ == "__main__":
    main()
