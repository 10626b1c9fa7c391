import dataclasses
import itertools
import math
import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vigor_jax.config import ConfigError, OptimizerConfig
from vigor_jax.tasks import parse
from vigor_jax.train import optimizer

NAMES, SCHEDULES = (
    typing.get_args(typing.get_type_hints(OptimizerConfig)[key]) for key in ("name", "schedule")
)  # all there are

# Of each kind of array: one that decays and two that do not.
PARAMS = {
    "block_1_depthwise": {"kernel": np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2)},
    "logits": {
        "kernel": np.linspace(2, -1, 8, dtype=np.float32).reshape(2, 4),
        "bias": np.array([0.5, -2, 1, 0], np.float32),
    },
}
KEYS = [(layer, name) for layer, leaves in PARAMS.items() for name in leaves]
DECAYED = [("logits", "kernel")]


def gradients(steps):
    """Of some steps; that of a parameter is no function of its value, so that every error shows."""
    random = np.random.default_rng(5)
    return [jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), PARAMS) for _ in range(steps)]


def updated(config, steps):
    """The parameters after each step."""
    transformation = optimizer.create(config)
    params, state = jax.tree.map(jnp.asarray, PARAMS), transformation.init(PARAMS)
    found = []
    for gradient in gradients(steps):
        updates, state = transformation.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        found.append(params)
    return found


def updated_by_loops(config, rate_of_step, steps):
    """The same in float64, number by number."""
    params = {key: PARAMS[key[0]][key[1]].astype(np.float64) for key in KEYS}
    # Two running figures a number, whatever the optimiser makes of them.
    first = {key: np.zeros(leaf.shape) for key, leaf in params.items()}
    second = {key: np.full(leaf.shape, 1.0 if config.name == "rmsprop" else 0.0) for key, leaf in params.items()}
    found = []
    for t, gradient in enumerate(gradients(steps)):
        rate = rate_of_step(t)
        for key, leaf in params.items():
            decay = config.weight_decay if key in DECAYED else 0.0
            for i in np.ndindex(leaf.shape):
                g, w = float(gradient[key[0]][key[1]][i]), leaf[i]
                if config.name != "adam":
                    g = g + decay * w
                if config.name == "adam":
                    first[key][i] = 0.9 * first[key][i] + 0.1 * g
                    second[key][i] = 0.999 * second[key][i] + 0.001 * g**2
                    mean, square = first[key][i] / (1 - 0.9 ** (t + 1)), second[key][i] / (1 - 0.999 ** (t + 1))
                    leaf[i] = w - rate * (mean / (math.sqrt(square) + 1e-8) + decay * w)
                elif config.name == "sgd":
                    first[key][i] = config.momentum * first[key][i] + g
                    leaf[i] = w - rate * first[key][i]
                else:
                    second[key][i] = 0.9 * second[key][i] + 0.1 * g**2
                    first[key][i] = config.momentum * first[key][i] + rate * g / math.sqrt(second[key][i] + 1.0)
                    leaf[i] = w - first[key][i]
        found.append({key: leaf.copy() for key, leaf in params.items()})
    return found


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(
    ("name", "momentum"), [("adam", 0.9), ("sgd", 0.9), ("sgd", 0.0), ("rmsprop", 0.9), ("rmsprop", 0.5)]
)
def test_updates_equal_loops_over_the_numbers(name, momentum, decay):
    config = OptimizerConfig(
        name=name, learning_rate=0.1, momentum=momentum, weight_decay=decay, decay_rate=0.5, decay_steps=2
    )
    found, expected = updated(config, 6), updated_by_loops(config, lambda t: 0.1 * 0.5 ** (t / 2), 6)
    # Of 1 - 0.999 float32 keeps four digits, which Adam's first updates inherit.
    tolerance = 1e-5 if name == "adam" else 1e-6
    for ours, theirs in zip(found, expected, strict=True):
        for (layer, leaf), value in theirs.items():
            np.testing.assert_allclose(ours[layer][leaf], value, rtol=2e-5, atol=tolerance)


def test_the_default_is_the_adam_that_it_was():
    """Its state too, so that older checkpoints fit."""
    ours = optimizer.create(OptimizerConfig(decay_steps=2))
    before = optax.adam(optax.exponential_decay(1e-5, 2, 0.1), b1=0.9, b2=0.999)
    states = [ours.init(PARAMS), before.init(PARAMS)]
    for gradient in gradients(3):
        (update, states[0]), (expected, states[1]) = (
            jax.jit(each.update)(gradient, state) for each, state in zip((ours, before), states, strict=True)
        )
        jax.tree.map(np.testing.assert_array_equal, update, expected)
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.mark.parametrize("step", [0, 1, 75_000, 150_000, 300_000])
def test_rate_is_the_authors(step):
    rate = optimizer.learning_rate(OptimizerConfig())(step)
    np.testing.assert_allclose(rate, 1e-5 * 0.1 ** (step / 150_000), rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 3, 7, 49, 40_037])
def test_a_stair_comes_at_its_step(steps):
    """0.94 every so many steps, as MobileNet's; also where the step is no multiple that floats would hold."""
    rate = jax.jit(
        optimizer.learning_rate(
            OptimizerConfig(learning_rate=0.045, schedule="staircase", decay_rate=0.94, decay_steps=steps)
        )
    )
    for stair in (1, 2, 5, 60, 200):
        for step in (stair * steps - 1, stair * steps):
            np.testing.assert_allclose(rate(jnp.int32(step)), 0.045 * 0.94 ** (step // steps), rtol=1e-5)


def test_a_cosine_falls_from_the_rate_to_nothing():
    rate = optimizer.learning_rate(OptimizerConfig(learning_rate=0.2, schedule="cosine", decay_steps=12))
    expected = [0.1 * (1 + math.cos(math.pi * min(t, 12) / 12)) for t in range(15)]
    np.testing.assert_allclose([float(rate(t)) for t in range(15)], expected, rtol=1e-5, atol=1e-8)
    assert (expected[0], expected[6], expected[12]) == (0.2, pytest.approx(0.1), 0.0)


def test_a_cosine_that_ends_before_the_run_is_refused():
    config = OptimizerConfig(schedule="cosine", decay_steps=12)
    optimizer.require_fits(config, 12, None)
    with pytest.raises(ConfigError, match=r"config\.optimizer\.decay_steps = 12: .* the run has 13 steps"):
        optimizer.require_fits(config, 13, None)
    optimizer.require_fits(OptimizerConfig(decay_steps=12), 13, None)


def test_a_plateau_of_a_metric_that_is_not_measured_is_refused():
    config = OptimizerConfig(schedule="plateau")
    optimizer.require_fits(config, 13, "validation/top1")
    with pytest.raises(ConfigError, match=r"config\.optimizer\.schedule = 'plateau': .* holds nothing out"):
        optimizer.require_fits(config, 13, None)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_scales_the_first_rates_and_no_others(schedule):
    unread = {} if schedule == "plateau" else {"decay_steps": 10}
    config = OptimizerConfig(learning_rate=1.0, schedule=schedule, **unread)
    warm = optimizer.learning_rate(dataclasses.replace(config, warmup_steps=4))
    rates = [float(warm(jnp.int32(t))) for t in range(6)]
    cold = [float(optimizer.learning_rate(config)(jnp.int32(t))) for t in range(6)]
    expected = [rate * scale for rate, scale in zip(cold, [0.25, 0.5, 0.75, 1, 1, 1], strict=True)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    by_hand = {
        "exponential": [0.1 ** (t / 10) for t in range(6)],
        "cosine": [(1 + math.cos(math.pi * t / 10)) / 2 for t in range(6)],
    }
    np.testing.assert_allclose(cold, by_hand.get(schedule, [1] * 6), rtol=1e-6)


CHANGED = {
    "learning_rate": 0.2,
    "momentum": 0.5,
    "weight_decay": 0.1,
    "decay_rate": 0.5,
    "decay_steps": 2,
    "plateau_patience": 1,
    "plateau_factor": 0.5,
    "warmup_steps": 2,
}


def taken(tree):
    """The optimiser's config, or the message by which it is refused."""
    try:
        return parse(tree).optimizer, ""
    except ConfigError as error:
        return None, str(error)


@pytest.mark.parametrize(("name", "schedule"), list(itertools.product(NAMES, SCHEDULES)))
def test_every_key_is_read_or_refused(name, schedule):
    """Whatever is accepted changes the parameters, and whatever would change nothing is refused by name."""
    assert {*CHANGED, "name", "schedule"} == {field.name for field in dataclasses.fields(OptimizerConfig)}
    groups = {"images": {"name": "grocery"}, "classifier": {"backbone": "vgg11"}, "batch": {"size": 1}}
    tree = {"name": "a", "task": "classification", "epochs": 1, **groups}
    chosen = {"name": name, "schedule": schedule, "weight_decay": 0.01}
    if schedule != "plateau":
        chosen["decay_steps"] = 3  # within the steps taken here
    plain = updated(parse(tree | {"optimizer": chosen}).optimizer, 5)[-1]
    refused = set()
    for key, value in CHANGED.items():
        config, message = taken(tree | {"optimizer": chosen | {key: value}})
        if config is None:
            refused.add(key)
            assert f"config.optimizer.{key} = {value!r}: config.optimizer." in message
            assert f"keeps its default, {getattr(OptimizerConfig(), key)!r}" in message
        elif not key.startswith("plateau"):  # how those act, test_plateau.py shows
            same = jax.tree.map(np.array_equal, updated(config, 5)[-1], plain)
            assert not all(jax.tree.leaves(same)), key
    expected = {"momentum"} if name == "adam" else set()
    if schedule == "plateau":
        expected |= {"decay_rate", "decay_steps"}
    else:
        expected |= {"plateau_patience", "plateau_factor"} | ({"decay_rate"} if schedule == "cosine" else set())
    assert refused == expected
