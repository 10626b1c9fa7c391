"""The training step of a classifier, beside the same step in PyTorch: one JSON line a figure.

    python benchmarks/classifier_step.py [--networks vgg16,mobilenet_1.0] [--batch 64] [--image 224]
        [--dtype bfloat16] [--rounds 7] [--steps 5] [--peak_tflops T] [--small]

A step is the preprocessing of uint8 images, forward, backward and gradient descent with momentum and weight decay, of
VGG-D and of MobileNet with 1,000 classes. Ours is the trainer's own compiled step and the task's own loss. The peer is
the same network in PyTorch: channels-last, bfloat16 autocast, fused optimiser, eager and under `torch.compile`. Both
start from the same weights, by the conversion that weight files take, and at a small size in float32 the loss and the
update of every array must agree, or nothing is measured. Then they take turns of `--steps` steps on a batch that is
already on the device.

The limit is three times the forward pass's multiply-adds (`models/cost.py`) at the rate of a large matrix product of
the same type on the same device. Depthwise convolutions cannot come near it on any hardware: memory limits them.

The defaults are for an accelerator. `--small` takes a minute on two CPU cores. PyTorch is in the extra `bench`; without
it the peer is null, and the reason is said.
"""

import argparse
import dataclasses
import os
import statistics
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
import numpy as np
from figures import emit, median_ratio, spread_percent, taking_turns
from jax.sharding import NamedSharding, PartitionSpec
from product_rate import measured_peak
from train_step import reason_without_peer

from vigor_jax.config import BatchConfig, ImageDataConfig, OptimizerConfig
from vigor_jax.models import registry
from vigor_jax.models.cost import cost
from vigor_jax.models.preprocessing import PREPROCESSINGS
from vigor_jax.models.pretrained import mobilenet, vgg
from vigor_jax.parallel.mesh import AXIS, data_mesh
from vigor_jax.tasks.classification import network as classifier_network
from vigor_jax.tasks.classification.config import ClassificationConfig, ClassifierConfig
from vigor_jax.tasks.classification.task import Classification
from vigor_jax.train import optimizer, state, step

_PEERS = {"pytorch_eager": False, "pytorch_compile": True}  # compiled?
_CLASSES = 1000
_SMALL = {"networks": "vgg11,mobilenet_0.25", "batch": 4, "image": 32, "dtype": "float32", "rounds": 2, "steps": 1}
# Of the VGG paper, for both networks: RMSProp, MobileNet's, is another in each library.
_OPTIMIZER = OptimizerConfig(
    name="sgd", learning_rate=1e-2, momentum=0.9, weight_decay=5e-4, schedule="exponential", decay_rate=1.0
)


@dataclasses.dataclass(frozen=True)
class Size:
    """Of a step."""

    network: str
    batch: int
    image: int
    dtype: Literal["bfloat16", "float32"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="vgg16,mobilenet_1.0", help="of the families VGG and MobileNet")
    parser.add_argument("--batch", type=int, default=64, help="images a step")
    parser.add_argument("--image", type=int, default=224, help="pixels, side of the images")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the computation")
    parser.add_argument("--rounds", type=int, default=7, help="turns that are timed")
    parser.add_argument("--steps", type=int, default=5, help="of a turn, between two waits for the device")
    parser.add_argument("--peak_tflops", type=float, help="the device's rate; default: measured")
    parser.add_argument("--small", action="store_true", help="a minute on a CPU, whatever the other flags say")
    args = parser.parse_args()
    if args.small:
        vars(args).update(_SMALL)
    # Two libraries share the device.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    no_peer = reason_without_peer()
    peak = args.peak_tflops * 1e12 if args.peak_tflops else measured_peak(args.dtype, no_peer is None)
    emit("classifier_step/peak", tflop_per_s=peak / 1e12, dtype=args.dtype)
    for network in args.networks.split(","):
        if no_peer is None:
            emit("classifier_step/check", **_check(Size(network, 16, 64, "float32")))
        _measure(Size(network, args.batch, args.image, args.dtype), args.rounds, args.steps, peak, no_peer)


class ClassifierTask(Classification):
    """`Classification` as far as a step needs it."""

    steps_per_epoch = 1
    fingerprint: ClassVar[dict[str, Any]] = {}

    def __init__(self, config: ClassificationConfig):
        """Not that of the task, which opens a data set."""
        self._config = config
        self.network, self._preprocessing, self._pretrained = classifier_network.of(config, _CLASSES, axis_name=AXIS)
        self._model, self._shallower = self.network, None


class OurStep:
    """The trainer's compiled step on a batch of noise."""

    def __init__(self, size: Size, *, dropout: float):
        """Compiles it; `dropout` -1 is the network's own."""
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 256, (size.batch, size.image, size.image, 3), np.uint8)
        self.labels = rng.integers(0, _CLASSES, size.batch).astype(np.int32)
        config = ClassificationConfig(
            name="classifier_step",
            task="classification",
            epochs=1,
            images=ImageDataConfig(name="noise", crop=size.image, scales=(size.image, size.image)),
            classifier=ClassifierConfig(
                backbone=size.network, dropout=dropout, dtype=size.dtype, test_scales=(size.image,)
            ),
            optimizer=_OPTIMIZER,
            batch=BatchConfig(size=size.batch),
        )
        mesh = data_mesh(jax.devices()[:1])  # one device, as the peer has
        task = ClassifierTask(config)
        batch = {"image": self.images, "label": self.labels}
        self._batch = jax.device_put(batch, NamedSharding(mesh, PartitionSpec(AXIS)))
        transformation = optimizer.create(config.optimizer)
        self.state = state.create(task, transformation, 0, mesh)
        program = step.make(task, transformation, optimizer.learning_rate(config.optimizer), 0, mesh)
        self._compiled = program.lower(self.state, self._batch).compile()
        self.model = task.network

    def __call__(self, steps: int = 1) -> dict[str, jax.Array]:
        """The last step's metrics, once all the steps are done."""
        for _ in range(steps):
            self.state, metrics, *_ = self._compiled(self.state, self._batch)
        jax.block_until_ready((self.state, metrics))
        return metrics

    @property
    def memory_gib(self) -> float:
        """What the program holds at most: state, batch and intermediate results, by the compiler's plan."""
        plan = self._compiled.memory_analysis()
        held = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
        return (held + plan.temp_size_in_bytes) / 2**30


def _check(size: Size) -> dict[str, Any]:
    """How far the first loss and the first update of each array are apart, as shares of PyTorch's; without dropout.

    Raises:
      AssertionError: further than rounding explains.
    """
    with jax.default_matmul_precision("highest"):
        ours = OurStep(size, dropout=0.0)
    before = _weights(size, ours)
    peer = _peer(size, ours, dropout=0.0, exact=True)
    loss, loss_of_peer = float(ours()["loss"]), float(peer())
    after = _weights(size, ours)
    theirs = {name: array.numpy(force=True) for name, array in peer.model.state_dict().items()}
    trained = [name for name in before if "running" not in name]
    apart = [
        float(np.linalg.norm(after[name] - theirs[name]) / np.linalg.norm(theirs[name] - before[name]))
        for name in trained
    ]
    first, typical, worst = abs(loss / loss_of_peer - 1), statistics.median(apart), max(apart)
    assert first < 1e-5, f"the loss of {size.network} differs from PyTorch's: {loss}, {loss_of_peer}"
    # An input of a ReLU that is zero but for rounding goes either way, and batch normalisation of few values makes that
    # felt in all of its layer. With MobileNet's arithmetic in float64 the arrays are 3e-6 apart, in float32 0.2 to 1 %.
    by_array = dict(zip(trained, apart, strict=True))
    assert typical < 0.03, f"the updates of {size.network} differ from PyTorch's: {by_array}"
    assert worst < 0.1, f"the updates of {size.network} differ from PyTorch's: {by_array}"
    return {"network": size.network, "loss_apart": first, "update_apart": typical, "worst_update_apart": worst}


def _measure(size: Size, rounds: int, steps: int, peak: float, no_peer: str | None) -> None:
    """Prints the figures of all methods at one size."""
    failed = dict.fromkeys(_PEERS, no_peer)
    ours = OurStep(size, dropout=-1.0)
    ours(steps)
    programs: dict[str, Callable[[], Any]] = {"vigor_jax": lambda: ours(steps)}
    for name, compiled in _PEERS.items():
        if failed[name] is None:
            try:
                peer = _peer(size, ours, dropout=registry.entry(size.network).dropout, compiled=compiled)
                peer(1)
                programs[name] = lambda peer=peer: peer(steps)
            except Exception as error:  # of the compiler, of a missing C++ compiler, of memory: the peer's own
                failed[name] = f"{type(error).__name__}: {(str(error).strip() or '?').splitlines()[0]}"[:300]
    times = taking_turns(programs, rounds)
    flop = 3 * 2 * cost(ours.model, size.image, size.image).total.multiply_adds * size.batch
    for name in ("vigor_jax", *_PEERS):
        values: dict[str, Any] = {"images_per_s": None, "reason": failed.get(name)}
        if name in times:
            seconds = statistics.median(times[name]) / steps
            values = {
                "images_per_s": size.batch / seconds,
                "limit": size.batch * peak / flop,
                "limit_is": "three forward passes' multiply-adds at the rate of classifier_step/peak",
                "limit_percent": 100 * flop / seconds / peak,
                "step_ms": 1000 * seconds,
                "spread_percent": spread_percent(times[name]),
                "memory_gib": ours.memory_gib if name == "vigor_jax" else None,
            }
        emit(f"classifier_step/{name}", **values, **dataclasses.asdict(size))
    for name in _PEERS:
        emit(
            f"classifier_step/times_{name}",
            ratio=median_ratio(times[name], times["vigor_jax"]) if name in times else None,
            peer=1.0 if name in times else None,
            peer_is=failed[name] or f"classifier_step/{name}, in turns with ours",
            **dataclasses.asdict(size),
        )


def _peer(
    size: Size,
    ours: OurStep,
    *,
    dropout: float,
    compiled: bool = False,
    exact: bool = False,
) -> Any:
    """The same network in PyTorch, with our weights as they are now."""
    from step_peer.classifier_step import ClassifierPeerStep
    from step_peer.classifiers import MobileNetClassifier, VGGClassifier

    network = ours.model
    if size.network.startswith("vgg"):
        model = VGGClassifier(network.backbone, network.head.positions, _CLASSES, dropout)
    else:
        model = MobileNetClassifier(network.backbone, _CLASSES, dropout)
    return ClassifierPeerStep(
        model,
        _weights(size, ours),
        ours.images,
        ours.labels,
        preprocessing=PREPROCESSINGS[registry.entry(size.network).preprocessing],
        optimizer=_OPTIMIZER,
        dtype=size.dtype,
        device="cuda" if jax.default_backend() == "gpu" else "cpu",
        compiled=compiled,
        exact=exact,
    )


def _weights(size: Size, ours: OurStep) -> dict[str, np.ndarray]:
    """Our weights as they are now, under the peer's names."""
    variables = jax.device_get(ours.state.variables)
    if size.network.startswith("vgg"):
        return vgg.to_arrays(variables, ours.model, "torchvision")
    return mobilenet.to_torch(variables, ours.model)


if __name__ == "__main__":
    main()
