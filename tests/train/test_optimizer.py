import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax.config import OptimizerConfig
from vigor_jax.train import optimizer


@pytest.mark.parametrize("step", [0, 1, 75_000, 150_000, 300_000])
def test_rate_is_the_authors(step):
    rate = optimizer.learning_rate(OptimizerConfig())(step)
    np.testing.assert_allclose(rate, 1e-5 * 0.1 ** (step / 150_000), rtol=1e-5)


def test_warm_up_scales_the_first_rates_and_no_others():
    config = OptimizerConfig(learning_rate=1.0, decay_steps=10, warmup_steps=4)
    rates = [float(optimizer.learning_rate(config)(jnp.int32(t))) for t in range(6)]
    decay = [0.1 ** (t / 10) for t in range(6)]
    expected = [d * w for d, w in zip(decay, [0.25, 0.5, 0.75, 1, 1, 1], strict=True)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_adam_by_hand():
    config = OptimizerConfig(learning_rate=0.1, decay_steps=2)
    transformation = optimizer.create(config)
    value, mean, square = 1.0, 0.0, 0.0
    state = transformation.init(jnp.float32(value))
    for t, gradient in enumerate([0.5, -2.0, 3.0]):
        update, state = transformation.update(jnp.float32(gradient), state)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        corrected = mean / (1 - 0.9 ** (t + 1)), square / (1 - 0.999 ** (t + 1))
        expected = -0.1 * 0.1 ** (t / 2) * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
        np.testing.assert_allclose(update, expected, rtol=1e-4)
