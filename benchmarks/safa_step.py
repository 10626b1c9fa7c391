"""A training step of SAFA on noise, with or without the mining pool: as much of a task as a step needs."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from vigor_jax.encoding.stopping import never
from vigor_jax.losses import soft_margin_triplet
from vigor_jax.mining import pool
from vigor_jax.parallel.mesh import AXIS
from vigor_jax.tasks.cross_view.config import ModelConfig
from vigor_jax.tasks.cross_view.model import cross_view_model
from vigor_jax.tasks.task import LossOutput, Task

TILES = 90_618  # of VIGOR


@dataclasses.dataclass(frozen=True)
class Size:
    """What the cost of a step depends on."""

    batch: int  # pairs, over all devices
    image: int  # side of a tile; a panorama is twice as wide
    width: float  # of the towers
    dtype: str  # of their computation
    capacity: int  # of the pool; 0: no mining
    hardest: int  # tiles found for each query

    @property
    def descriptor(self) -> int:
        """Numbers of a descriptor."""
        return 8 * int(512 * self.width)

    def described(self) -> dict[str, Any]:
        """For a figure's line."""
        return dataclasses.asdict(self) | {"descriptor": self.descriptor}


class SafaStep(Task):
    """The task of such a step."""

    def __init__(self, size: Size):
        model = ModelConfig(aggregation="safa", width=size.width, dtype=size.dtype)
        self._model = cross_view_model(model, "torchvision")
        self._size = size
        if size.capacity:
            self.carry_specs = pool.partition_specs(AXIS)

    def init(self, key: jax.Array) -> Any:
        """Fresh variables."""
        image = jnp.zeros((1, self._size.image, self._size.image, 3), jnp.uint8)
        init = functools.partial(self._model.init, train=False)
        if not isinstance(key, jax.core.Tracer):
            # It runs once: on CPUs LLVM's optimisation of every layer's random draws costs more than it saves.
            options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
            init = jax.jit(init, compiler_options=options)
        return init(key, image, jnp.concatenate([image, image], axis=2))

    def init_carry(self, devices: int) -> Any:
        """An empty pool, if there is one."""
        size = self._size
        return pool.empty(size.capacity, TILES, size.descriptor, devices) if size.capacity else {}

    def batches(self, first_step):
        """None: `Batches` makes them on the devices."""
        raise NotImplementedError

    def evaluate(self, variables, mesh, should_stop=never):
        """None: the step alone is timed."""
        raise NotImplementedError

    def table(self, metrics):
        """None, as nothing is evaluated."""
        raise NotImplementedError

    def loss(self, variables, batch, key, *, carry, axis_name):
        """The triplet loss, and with a pool what is mined."""
        pairs = self._model.apply(variables, batch["aerial"], batch["ground"], train=True)
        loss = soft_margin_triplet(pairs.aerial, pairs.ground, axis_name=axis_name)
        if not self._size.capacity:
            return loss, LossOutput(model_state={}, metrics={})
        carry, feedback = mine(carry, batch, pairs.aerial, pairs.ground, self._size.hardest, axis_name)
        return loss, LossOutput(model_state={}, metrics={}, carry=carry, feedback=feedback)


def mine(carry, batch, aerial, ground, k, axis_name):
    """What mining adds to a step: the batch's tiles go into the pool, and its panoramas find the hardest in it."""
    references, city = batch["references"], batch["city"]
    carry = pool.refresh(carry, references[:, 0], city, aerial, axis_name)
    asking = pool.Asking(references, city)
    return carry, {"hardest": pool.hardest(carry, ground, asking, pool.other_tiles, k, axis_name)}


def shapes(size: Size) -> dict[str, jax.ShapeDtypeStruct]:
    """Of a batch's arrays."""
    side = size.image
    return {
        "aerial": jax.ShapeDtypeStruct((size.batch, side, side, 3), jnp.uint8),
        "ground": jax.ShapeDtypeStruct((size.batch, side, 2 * side, 3), jnp.uint8),
        "city": jax.ShapeDtypeStruct((size.batch,), jnp.int32),
        "references": jax.ShapeDtypeStruct((size.batch, 4), jnp.int32),
    }


class Batches:
    """Noise; the tiles of a batch are all different and those of the next are others."""

    def __init__(self, size: Size, sharding: NamedSharding):
        rng = np.random.default_rng(0)
        described = shapes(size)
        self._fixed = {name: rng.integers(0, 256, described[name].shape, np.uint8) for name in ("aerial", "ground")} | {
            "city": np.zeros(size.batch, np.int32)
        }
        self._rows = size.batch
        self._sharding = sharding

    def __call__(self, number: int) -> dict[str, jax.Array]:
        """The batch of step `number`."""
        taken = 4 * self._rows
        tiles = (number * taken + np.arange(taken)) % (TILES // taken * taken)
        return jax.device_put(self._fixed | {"references": tiles.reshape(-1, 4).astype(np.int32)}, self._sharding)
