"""Everything that decides the next step."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vigor_jax.models.variables import Variables
from vigor_jax.tasks.task import Task

_INIT = 0  # folded into the seed's key; steps fold 1 + step


@struct.dataclass
class TrainState:
    """What a checkpoint holds and a step updates; replicated over the devices, but for the carry.

    Attributes:
      step: int32 scalar, updates done so far; also the index of the next batch.
      params: what the optimiser changes.
      model_state: the model's mutable collections (running statistics), without "params".
      opt_state: of the optax transformation.
      first_nonfinite_step: int32 scalar, the first update (counted from 1) whose loss, gradient or model state was
        not finite; -1 while there was none. Kept on the device, so that no step waits for the host to look.
      carry: what the task's steps hand on to each other, laid out by `Task.carry_specs`.
    """

    # Any, as the same tree also holds shapes, shardings or host arrays in place of the device arrays.
    step: Any
    params: Any
    model_state: Any
    opt_state: Any
    first_nonfinite_step: Any
    carry: Any

    @property
    def variables(self) -> Variables:
        """The Flax variables that a task's loss and evaluation take."""
        return {"params": self.params, **self.model_state}


def specs(task: Task) -> TrainState:
    """How a state lies on the devices, as a prefix of its tree: a `PartitionSpec` for each part."""
    whole = PartitionSpec()
    return TrainState(
        step=whole,
        params=whole,
        model_state=whole,
        opt_state=whole,
        first_nonfinite_step=whole,
        carry=task.carry_specs,
    )


def create(task: Task, optimizer: optax.GradientTransformation, seed: int, mesh: Mesh) -> TrainState:
    """A fresh state, made on the devices; the same for the same seed on any number of them."""
    # By way of the host: pretrained weights would otherwise be compiled into a program as constants.
    # From host 0: weight files of the same name need not be the same on all.
    variables = multihost_utils.broadcast_one_to_all(jax.device_get(task.init(_init_key(seed))))
    start = functools.partial(_start, task, optimizer, mesh.size)
    return jax.jit(start, out_shardings=_shardings(task, mesh))(variables)


def abstract(task: Task, optimizer: optax.GradientTransformation, seed: int, mesh: Mesh) -> TrainState:
    """Shapes, types and shardings of `create`'s result, without making it: what a checkpoint is restored into."""
    shapes = jax.eval_shape(lambda: _start(task, optimizer, mesh.size, task.init(_init_key(seed))))
    shardings = jax.tree.broadcast(_shardings(task, mesh), shapes)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, shardings
    )


def step_key(seed: int, step: jax.Array) -> jax.Array:
    """The random key of the update that follows `step` updates."""
    return jax.random.fold_in(jax.random.key(seed), 1 + step)


def _init_key(seed: int) -> jax.Array:
    return _first_key(np.uint32(seed))


@jax.jit
def _first_key(seed: jax.Array) -> jax.Array:
    """As one program: step by step it would be seven, each compiled in every start."""
    return jax.random.fold_in(jax.random.key(seed), _INIT)


def _shardings(task: Task, mesh: Mesh) -> TrainState:
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs(task))


def _start(task: Task, optimizer: optax.GradientTransformation, devices: int, variables: Variables) -> TrainState:
    model_state = dict(variables)
    params = model_state.pop("params")
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state=model_state,
        opt_state=optimizer.init(params),
        first_nonfinite_step=jnp.full((), -1, jnp.int32),
        carry=task.init_carry(devices),
    )
