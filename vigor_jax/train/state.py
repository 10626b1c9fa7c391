"""Everything that decides the next step, and how it lies on the devices."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vigor_jax.models.variables import Variables
from vigor_jax.parallel.mesh import AXIS
from vigor_jax.parallel.sharded_rows import padded
from vigor_jax.tasks.task import Task

_INIT = 0  # folded into the seed's key; steps fold 1 + step
WHOLE, ROWS = PartitionSpec(), PartitionSpec(AXIS)  # a copy on each device; rows divided among them


@struct.dataclass
class TrainState:
    """What a checkpoint holds and a step updates; replicated over the devices, but for what the task divides.

    Attributes:
      step: int32 scalar, updates done so far; also the index of the next batch.
      params: what the optimiser changes, laid out by `Task.param_specs`.
      model_state: the model's mutable collections (running statistics), without "params".
      opt_state: of the optax transformation; what it keeps for a parameter lies as the parameter does.
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


def specs(task: Task, optimizer: optax.GradientTransformation) -> TrainState:
    """How a state lies on the devices, as a prefix of its tree: a `PartitionSpec` for each part.

    What the optimiser keeps for a parameter lies as the parameter does.

    Raises:
      ValueError: `Task.param_specs` has something else than rows over the devices and copies on each.
    """
    for spec in jax.tree.leaves(task.param_specs):
        if spec not in (WHOLE, ROWS):
            raise ValueError(f"param_specs has {spec}: parameters lie by rows, {ROWS}, or as copies, {WHOLE}")
    init = functools.partial(jax.eval_shape, optimizer.init)
    return TrainState(
        step=WHOLE,
        params=task.param_specs,
        model_state=WHOLE,
        # Of no parameters, None, the state has None in the place of each tree like theirs.
        opt_state=optax.tree.map_params(
            init,
            lambda _: task.param_specs,
            init(None),
            transform_non_params=lambda _: WHOLE,
            is_leaf=lambda node: node is None,
        ),
        first_nonfinite_step=WHOLE,
        carry=task.carry_specs,
    )


def create(task: Task, optimizer: optax.GradientTransformation, seed: int, mesh: Mesh) -> TrainState:
    """A fresh state, made on the devices; the same for the same seed on any number of them, but for rows of padding."""
    # By way of the host: pretrained weights would otherwise be compiled into a program as constants.
    # From host 0: weight files of the same name need not be the same on all.
    variables = multihost_utils.broadcast_one_to_all(jax.device_get(task.init(_init_key(seed))))
    start = functools.partial(_start, task, optimizer, mesh.size, _shapes(variables["params"]))
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs(task, optimizer))
    return jax.jit(start, out_shardings=shardings)(place(variables, task, mesh))


def place(variables: Variables, task: Task, mesh: Mesh) -> Variables:
    """Puts variables of the host onto the devices, as the task's loss and evaluation take them.

    Of a parameter that `Task.param_specs` divides each device is given its own rows alone, padded to equal shares; the
    whole lies on the host, and on no device.
    """

    def onto_devices(array: np.ndarray, spec: PartitionSpec) -> jax.Array:
        array = padded(np.asarray(array), mesh.size) if spec == ROWS else np.asarray(array)
        return jax.make_array_from_callback(array.shape, NamedSharding(mesh, spec), lambda index: array[index])

    return _map(onto_devices, variables, {name: task.param_specs if name == "params" else WHOLE for name in variables})


def abstract(task: Task, optimizer: optax.GradientTransformation, seed: int, mesh: Mesh) -> TrainState:
    """Shapes, types and shardings of `create`'s result, without making it: what a checkpoint is restored into."""

    def start() -> TrainState:
        variables = task.init(_init_key(seed))
        shapes = _shapes(variables["params"])
        params = _padded(variables["params"], task.param_specs, mesh.size)
        return _start(task, optimizer, mesh.size, shapes, {**variables, "params": params})

    return _map(
        lambda leaf, spec: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec)),
        jax.eval_shape(start),
        specs(task, optimizer),
    )


def unpadded_rows(task: Task, optimizer: optax.GradientTransformation) -> dict[str, int]:
    """Counts the rows, without padding, of each parameter and moment that the devices share.

    By the names that the seal of a checkpoint has: `{"params/head/kernel": 1000}`. How much of the carry is padding is
    known to the task alone.
    """
    layout = specs(task, optimizer)
    if ROWS not in jax.tree.leaves(layout.params):
        return {}
    params = jax.eval_shape(task.init, _init_key(0))["params"]
    shapes = {"params": params, "opt_state": jax.eval_shape(optimizer.init, params)}
    laid_out = jax.tree.broadcast({"params": layout.params, "opt_state": layout.opt_state}, shapes)
    named = jax.tree_util.tree_leaves_with_path(shapes)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape[0]
        for (path, leaf), spec in zip(named, jax.tree.leaves(laid_out), strict=True)
        if spec == ROWS
    }


def step_key(seed: int, step: jax.Array) -> jax.Array:
    """The random key of the update that follows `step` updates."""
    return jax.random.fold_in(jax.random.key(seed), 1 + step)


def _init_key(seed: int) -> jax.Array:
    return _first_key(np.uint32(seed))


@jax.jit
def _first_key(seed: jax.Array) -> jax.Array:
    """As one program: step by step it would be seven, each compiled in every start."""
    return jax.random.fold_in(jax.random.key(seed), _INIT)


def _start(
    task: Task,
    optimizer: optax.GradientTransformation,
    devices: int,
    shapes: Variables,
    variables: Variables,
) -> TrainState:
    """The first state; `shapes` are of the parameters without the padding of those in `variables`."""
    model_state = dict(variables)
    params = model_state.pop("params")
    # Padding is 0 in whatever the optimiser keeps, even in what begins at 1 elsewhere: it then stays 0, and when a
    # checkpoint is restored on other devices, as much of it is appended or left out as they need.
    unpadded = jax.tree.map(
        lambda leaf, like: leaf if leaf.shape == like.shape else leaf[: like.shape[0]], params, shapes
    )
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state=model_state,
        opt_state=_padded(optimizer.init(unpadded), specs(task, optimizer).opt_state, devices),
        first_nonfinite_step=jnp.full((), -1, jnp.int32),
        carry=task.init_carry(devices),
    )


def _padded(tree: Any, laid_out: Any, devices: int) -> Any:
    return _map(lambda leaf, spec: padded(leaf, devices) if spec == ROWS else leaf, tree, laid_out)


def _map(each: Callable[[Any, PartitionSpec], Any], tree: Any, laid_out: Any) -> Any:
    """`each` of every leaf and its spec; `laid_out` is a prefix of the tree."""
    return jax.tree.map(each, tree, jax.tree.broadcast(laid_out, tree))


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
