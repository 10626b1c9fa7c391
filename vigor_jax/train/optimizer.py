"""Adam with VIGOR's learning rate: a continuous exponential decay, optionally warmed up."""

import jax.numpy as jnp
import optax

from vigor_jax.config import OptimizerConfig


def learning_rate(config: OptimizerConfig) -> optax.Schedule:
    """The rate of each step, counted from 0: `learning_rate * decay_rate ** (step / decay_steps)`.

    The first `warmup_steps` rates are scaled by 1/warmup_steps, 2/warmup_steps, ... 1.
    Source: VIGOR's train_overall.py (Zhu, Yang, Chen, CVPR 2021); the warm-up is ours.
    """
    decay = optax.exponential_decay(config.learning_rate, config.decay_steps, config.decay_rate)
    if not config.warmup_steps:
        return decay
    return lambda step: decay(step) * jnp.minimum(1.0, (step + 1) / config.warmup_steps)


def create(config: OptimizerConfig) -> optax.GradientTransformation:
    """Adam(0.9, 0.999) at `learning_rate(config)`."""
    return optax.adam(learning_rate(config), b1=0.9, b2=0.999)
