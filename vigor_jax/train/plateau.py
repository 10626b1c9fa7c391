"""The learning rate is cut when the validation metric stops rising (VGG, section 3.1)."""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from absl import logging

from vigor_jax.config import OptimizerConfig
from vigor_jax.parallel import hosts
from vigor_jax.parallel.mesh import replicated


class PlateauState(NamedTuple):
    """What decides the next cut; part of the optimiser's state, and so of every checkpoint.

    Attributes:
      scale: float32 scalar, of the learning rate: `plateau_factor` to the power of the cuts so far.
      best: float32 scalar, the highest metric of an evaluation so far; -inf before the first.
      since: int32 scalar, evaluations since the best or the last cut, whichever came later.
    """

    scale: Any
    best: Any
    since: Any


def fresh() -> PlateauState:
    """Before the first evaluation; on the host."""
    return PlateauState(np.float32(1), np.float32(-np.inf), np.int32(0))


def after_evaluation(state: PlateauState, metric: float, *, patience: int, factor: float) -> PlateauState:
    """The state once an evaluation has found `metric`; on the host.

    A metric counts as a new best if it is higher in float32, in which the best one is kept: a run that goes on from a
    checkpoint compares the very numbers that an unbroken one does. After `patience` evaluations in a row without a new
    best the scale is multiplied by `factor`, and they are counted anew; the best stays.
    """
    metric = np.float32(metric)
    if metric > state.best:
        return PlateauState(state.scale, metric, np.int32(0))
    since = np.int32(state.since + 1)
    if since < patience:
        return PlateauState(state.scale, state.best, since)
    return PlateauState(np.float32(state.scale * np.float32(factor)), state.best, np.int32(0))


def scale_by_plateau() -> optax.GradientTransformation:
    """Multiplies updates by the scale of its `PlateauState`, which steps leave as it is and `observe` changes."""

    def init(params: Any) -> PlateauState:
        del params
        return jax.tree.map(jax.numpy.asarray, fresh())

    def update(updates: Any, state: PlateauState, params: Any = None) -> tuple[Any, PlateauState]:
        del params
        return jax.tree.map(lambda leaf: leaf * state.scale, updates), state

    return optax.GradientTransformation(init, update)


def scaled(rate: jax.typing.ArrayLike, opt_state: Any) -> jax.typing.ArrayLike:
    """The learning rate after the cuts of an optimiser's state, which may have none."""
    state = _find(opt_state)
    return rate if state is None else rate * state.scale


def observe(
    opt_state: Any, metrics: dict[str, float], name: str, config: OptimizerConfig, mesh: jax.sharding.Mesh, done: int
) -> Any:
    """The optimiser's state after an evaluation, with a sentence in the log if the learning rate is cut.

    To be called on every host, with nothing of the state donated; waits for the steps before.

    Args:
      opt_state: of the optimiser; of any schedule but the plateau it is returned as it is.
      metrics: of the evaluation. That of the first host counts.
      name: of the metric that is to rise.
      config: of the optimiser.
      mesh: over which the state is replicated.
      done: updates so far, for the log.
    """
    found = _find(opt_state)
    if found is None:
        return opt_state
    # Each host has computed its own: a last bit that differed would have them train with different rates.
    metric = hosts.from_first(lambda: metrics[name])
    before = PlateauState(*jax.device_get(found))
    after = after_evaluation(before, metric, patience=config.plateau_patience, factor=config.plateau_factor)
    if after.scale != before.scale and jax.process_index() == 0:
        logging.info(
            "Step %d: %s was not above %.6g in the last %d evaluations, so the learning rate is multiplied by %g, from "
            "%.4g to %.4g.",
            done,
            name,
            before.best,
            config.plateau_patience,
            config.plateau_factor,
            config.learning_rate * before.scale,
            config.learning_rate * after.scale,
        )
    on_devices = jax.tree.map(
        lambda leaf: jax.make_array_from_callback((), replicated(mesh), lambda _: np.asarray(leaf)), after
    )
    return jax.tree.map(lambda node: on_devices if _is_state(node) else node, opt_state, is_leaf=_is_state)


def _is_state(node: Any) -> bool:
    return isinstance(node, PlateauState)


def _find(opt_state: Any) -> PlateauState | None:
    return next(filter(_is_state, jax.tree.leaves(opt_state, is_leaf=_is_state)), None)
