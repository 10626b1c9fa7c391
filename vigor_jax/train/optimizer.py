"""How gradients become updates, and the learning rate of every step."""

import jax.numpy as jnp
import optax

from vigor_jax.config import ConfigError, OptimizerConfig
from vigor_jax.train import plateau, weight_decay

# Of MobileNet's published training, which has these by default: TensorFlow 1's RMSProp begins its mean of squares at 1
# and adds epsilon to it before the root.
_RMSPROP = {"decay": 0.9, "eps": 1.0, "initial_scale": 1.0, "eps_in_sqrt": True}


def learning_rate(config: OptimizerConfig) -> optax.Schedule:
    """The rate of each step, counted from 0; with the plateau schedule that before any cut.

    - exponential: `learning_rate * decay_rate ** (step / decay_steps)`, continuous: VIGOR's train_overall.py (Zhu,
      Yang, Chen, CVPR 2021).
    - staircase: the same with the quotient rounded down: MobileNet's published training.
    - cosine: `learning_rate * (1 + cos(pi * step / decay_steps)) / 2`, and 0 from `decay_steps` on (Loshchilov and
      Hutter, ICLR 2017, without restarts).
    - plateau: `learning_rate`; `train/plateau.py` cuts it.

    The first `warmup_steps` rates are scaled by 1/warmup_steps, 2/warmup_steps, ... 1; the warm-up is ours.
    """
    decay = _decay(config)
    if not config.warmup_steps:
        return decay
    return lambda step: decay(step) * jnp.minimum(1.0, (step + 1) / config.warmup_steps)


def _decay(config: OptimizerConfig) -> optax.Schedule:
    rate, steps = config.learning_rate, config.decay_steps
    if config.schedule == "exponential":
        return optax.exponential_decay(rate, steps, config.decay_rate)
    if config.schedule == "staircase":
        # Not optax's, which rounds a quotient of floats down: with some divisions a stair would come a step late.
        return lambda step: rate * jnp.power(config.decay_rate, jnp.asarray(step // steps, jnp.float32))
    if config.schedule == "cosine":
        return optax.cosine_decay_schedule(rate, steps)
    return optax.constant_schedule(rate)


def require_fits(config: OptimizerConfig, total_steps: int, selection_metric: str | None) -> None:
    """Refuses a cosine that ends before the run does, and a plateau of a metric that is not measured.

    Args:
      config: of the optimiser.
      total_steps: of the run.
      selection_metric: of its task; None if nothing is held out to select by.

    Raises:
      ConfigError: names the key, and what to do.
    """
    if config.schedule == "plateau" and selection_metric is None:
        raise ConfigError(
            "config.optimizer.schedule = 'plateau': the metric that selects the best checkpoint cuts the rate, and "
            "this run holds nothing out to measure it on. Hold a share out, or choose another schedule."
        )
    if config.schedule == "cosine" and total_steps > config.decay_steps:
        raise ConfigError(
            f"config.optimizer.decay_steps = {config.decay_steps}: the cosine's learning rate is 0 from there on, and "
            f"the run has {total_steps} steps. Give it as many, or ask for fewer config.epochs."
        )


def create(config: OptimizerConfig) -> optax.GradientTransformation:
    """The optimiser of a config, at `learning_rate(config)` times the scale of `train/plateau.py`.

    - adam: (0.9, 0.999), epsilon 1e-8; with `weight_decay` d it is AdamW (Loshchilov and Hutter, ICLR 2019), which
      takes `rate * d * parameter` off beside the scaled gradient.
    - sgd: `velocity = momentum * velocity + gradient`, times the rate, as PyTorch and TensorFlow have it. (Caffe takes
      the rate into the velocity, which differs for some ten steps after a cut.)
    - rmsprop: `square = 0.9 * square + 0.1 * gradient**2` from 1 on; `velocity = momentum * velocity + rate * gradient
      / sqrt(square + 1)`, as TensorFlow 1 has it and MobileNet was trained.

    With sgd and rmsprop the decay is L2 regularisation, `d / 2 * sum(parameter**2)` in the loss: `d * parameter` is
    added to the gradient before all else, as Caffe and TF-Slim have it and so VGG and MobileNet. The logged loss and
    gradient norm are without it. `train/weight_decay.py` says which parameters decay.
    """
    decay, trace = [], []
    if config.weight_decay:  # only then, for without it Adam's state is as it always was
        decay = [optax.add_decayed_weights(config.weight_decay, weight_decay.mask)]
    if config.momentum:
        trace = [optax.trace(config.momentum)]
    # A cut acts where the rate does: before RMSprop's momentum, after that of gradient descent.
    rate = [optax.scale_by_learning_rate(learning_rate(config))]
    if config.schedule == "plateau":
        rate.append(plateau.scale_by_plateau())
    if config.name == "adam":
        return optax.chain(optax.scale_by_adam(b1=0.9, b2=0.999), *decay, *rate)
    if config.name == "sgd":
        return optax.chain(*decay, *trace, *rate)
    return optax.chain(*decay, optax.scale_by_rms(**_RMSPROP), *rate, *trace)
