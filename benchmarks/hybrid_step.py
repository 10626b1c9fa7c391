"""The hybrid training step without a data set: the task's own model, start and loss on images of noise."""

import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vigor_jax.config import DataConfig
from vigor_jax.parallel.mesh import AXIS
from vigor_jax.tasks.cross_view.config import CrossViewConfig, LossConfig, ModelConfig, PairBatchConfig
from vigor_jax.tasks.cross_view.task import CrossView
from vigor_jax.tasks.cross_view.towers import TrainedTowers
from vigor_jax.train import optimizer, state, step


@dataclasses.dataclass(frozen=True)
class Size:
    """Of a step; an example is a panorama, its positive and one semi-positive tile."""

    batch: int
    image: int  # side of a tile; a panorama is twice as wide
    width: float  # of the towers
    backbone: Literal["vgg11", "vgg16"]
    dtype: Literal["bfloat16", "float32"]

    @property
    def configuration(self) -> Literal["A", "D"]:
        """The letter of the backbone in the VGG paper."""
        return {"vgg11": "A", "vgg16": "D"}[self.backbone]


def config_of(size: Size, aggregation_std: float = 0.005) -> CrossViewConfig:
    """The hybrid recipe of `configs/same_area.py` at that size: SAFA, Adam, the weights of the authors' code."""
    return CrossViewConfig(
        name="hybrid_step",
        task="cross_view",
        epochs=1,
        data=DataConfig(
            name="vigor",
            train_cities=("Seattle",),
            protocols=("same_area",),
            aerial_size=(size.image, size.image),
            ground_size=(size.image, 2 * size.image),
        ),
        model=ModelConfig(
            aggregation="safa",
            backbone=size.backbone,
            width=size.width,
            aggregation_std=aggregation_std,
            offset_head="regression",
            dtype=size.dtype,
        ),
        loss=LossConfig(alpha=10.0, iou_weight=0.1, offset_weight=0.01),
        batch=PairBatchConfig(size=size.batch),
    )


class HybridTask(CrossView):
    """`CrossView` as far as a step needs it."""

    steps_per_epoch = 1
    fingerprint: ClassVar[dict[str, Any]] = {}

    def __init__(self, config: CrossViewConfig):
        """Not that of the task, which opens the data set."""
        self._config = config
        self._towers = TrainedTowers(config)
        self._mining = None


def noise_batch(size: Size, seed: int = 0) -> dict[str, np.ndarray]:
    """What `CrossView.batches` gives in the hybrid phase, of noise; every semi-positive counts."""
    rng = np.random.default_rng(seed)

    def images(width: int) -> np.ndarray:
        colours = rng.integers(32, 257, (size.batch, 1, 1, 3))  # of each image, or all would look alike
        return rng.integers(0, colours, (size.batch, size.image, width, 3), np.uint8)

    return {
        "aerial": images(size.image),
        "semi_positive": images(size.image),
        "ground": images(2 * size.image),
        "offset": rng.uniform(-0.5, 0.5, (size.batch, 2)).astype(np.float32),
        "iou_ratio": rng.uniform(0.2, 0.9, size.batch).astype(np.float32),
        "semi_positive_counts": np.ones(size.batch, np.bool_),
    }


class HybridStep:
    """A compiled step with the state that it carries on."""

    def __init__(
        self,
        config: CrossViewConfig,
        mesh: Mesh,
        batch: dict[str, np.ndarray],
        transformation: optax.GradientTransformation | None = None,
    ):
        """Compiles it for that batch, with Adam unless another transformation is named."""
        self._batch = jax.device_put(batch, NamedSharding(mesh, PartitionSpec(AXIS)))
        task, transformation = HybridTask(config), transformation or optimizer.create(config.optimizer)
        self.state = state.create(task, transformation, 0, mesh)
        program = step.make(task, transformation, optimizer.learning_rate(config.optimizer), 0, mesh)
        self.compiled = program.lower(self.state, self._batch).compile()

    def __call__(self, steps: int = 1) -> dict[str, jax.Array]:
        """The last step's metrics, once all the steps are done."""
        for _ in range(steps):
            self.state, metrics, *_ = self.compiled(self.state, self._batch)
        jax.block_until_ready((self.state, metrics))
        return metrics

    @property
    def memory_gib(self) -> float:
        """What the program holds at most: state, batch and intermediate results, by the compiler's plan."""
        plan = self.compiled.memory_analysis()
        held = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
        return (held + plan.temp_size_in_bytes) / 2**30


def keeping_gradient(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same, with the gradient that it was last given in its state, for `gradient_of`."""

    def init(params: Any) -> tuple[Any, Any]:
        return transformation.init(params), jax.tree.map(jnp.zeros_like, params)

    def update(gradient: Any, kept: tuple[Any, Any], params: Any = None) -> tuple[Any, tuple[Any, Any]]:
        updates, inner = transformation.update(gradient, kept[0], params)
        return updates, (inner, gradient)

    return optax.GradientTransformation(init, update)


def gradient_of(state_of_optimizer: tuple[Any, Any]) -> Any:
    """What the last step's gradient was, under `keeping_gradient`."""
    return state_of_optimizer[1]
