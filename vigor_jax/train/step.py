"""One update of the parameters, mapped over the devices."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from vigor_jax.models.variables import Variables
from vigor_jax.parallel.mesh import AXIS, pmap
from vigor_jax.tasks.task import Carry, Feedback, Task
from vigor_jax.train import plateau
from vigor_jax.train.state import ROWS, WHOLE, TrainState, specs, step_key

Metrics = dict[str, jax.Array]
Step = Callable[[TrainState, dict[str, jax.Array]], tuple[TrainState, Metrics, jax.Array, Feedback]]


def make(task: Task, optimizer: optax.GradientTransformation, schedule: optax.Schedule, seed: int, mesh: Mesh) -> Step:
    """Compiles `(state, batch) -> (new state, metrics, first non-finite step, feedback)`; nothing waits for the host.

    The state is donated: the one passed in is gone. The batch is sharded by rows over the mesh and kept. Metrics are
    float32 scalars on the devices: the task's, and `loss`, `grad_norm` (global L2 norm), `learning_rate`. The third
    result is `TrainState.first_nonfinite_step`, which the host may read after the state was donated onwards, and the
    last what the task wants to have back on the host. A batch of another structure compiles another program.
    """

    def step(state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, Metrics, jax.Array, Feedback]:
        key = step_key(seed, state.step)

        def loss_of(params: Variables) -> tuple[jax.Array, tuple[Variables, Metrics, Carry, Feedback]]:
            # Each device's own from here on: their gradients then add up on each device in float32 and are summed over
            # the devices once, at the end. Otherwise JAX would sum them wherever a parameter meets a device's rows:
            # in the type of the computation, and in every turn of a loop. A device's own rows are that already.
            params = jax.tree.map(
                lambda leaf, spec: leaf if spec == ROWS else jax.lax.pcast(leaf, AXIS, to="varying"),
                params,
                jax.tree.broadcast(task.param_specs, params),
            )
            variables = {"params": params, **state.model_state}
            loss, output = task.loss(variables, batch, key, carry=state.carry, axis_name=AXIS)
            return loss, (output.model_state, output.metrics, output.carry, output.feedback)

        # The loss is the global batch's, so the gradient of a replicated parameter arrives already summed over the
        # devices (see mesh.pmap), and that of a device's own rows is theirs; reducing either again would scale it by
        # the number of devices. A task that returned its device's share as the loss is refused, for `metrics` below
        # must be provably the same on all devices.
        (loss, aux), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        changed, metrics, carry, feedback = aux
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        grad_norm = _norm(gradient, task.param_specs)
        done = state.step + 1
        broken = (state.first_nonfinite_step < 0) & ~_all_finite((loss, grad_norm, changed))
        state = TrainState(
            step=done,
            params=optax.apply_updates(state.params, updates),
            model_state={**state.model_state, **changed},
            opt_state=opt_state,
            first_nonfinite_step=jnp.where(broken, done, state.first_nonfinite_step),
            carry=carry,
        )
        learning_rate = plateau.scaled(schedule(done - 1), opt_state)
        metrics = metrics | {"loss": loss, "grad_norm": grad_norm, "learning_rate": learning_rate}
        metrics = {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}
        return state, metrics, state.first_nonfinite_step, feedback

    state_specs = specs(task, optimizer)
    return pmap(step, mesh, (state_specs, ROWS), (state_specs, WHOLE, WHOLE, WHOLE), donate_argnums=0)


def _norm(gradient: Variables, param_specs: Any) -> jax.Array:
    """The L2 norm of the whole gradient, of which a device has its own rows where the devices share a parameter."""
    laid_out = jax.tree.leaves(jax.tree.broadcast(param_specs, gradient))
    each = list(zip(jax.tree.leaves(gradient), laid_out, strict=True))
    own = [leaf for leaf, spec in each if spec == ROWS]
    if not own:
        return optax.tree.norm(gradient)
    whole = [leaf for leaf, spec in each if spec != ROWS]
    return jnp.sqrt(optax.tree.norm(whole, squared=True) + jax.lax.psum(optax.tree.norm(own, squared=True), AXIS))


def _all_finite(tree: Any) -> jax.Array:
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in floats]))
