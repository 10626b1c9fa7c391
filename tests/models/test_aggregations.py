"""Aggregations that do not know one position from another, and all of them by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax.models.aggregations import (
    AverageAggregation,
    FullyConnectedAggregation,
    GeneralizedMean,
    aggregation,
)


@pytest.mark.parametrize(("name", "dim"), [("safa", 2 * 4), ("gem", 4), ("average", 4), ("fully_connected", 7)])
def test_each_has_a_name_and_describes_in_training_and_otherwise(name, dim):
    module = aggregation(name, num_heads=2, descriptor_dim=7, dropout=0.5)
    variables = module.init(jax.random.key(0), _features())
    for train in (False, True):
        descriptor = module.apply(variables, _features(), train=train, rngs={"dropout": jax.random.key(0)})
        assert (descriptor.shape, descriptor.dtype) == ((2, dim), jnp.float32)


def _looped(features: np.ndarray, p: float) -> np.ndarray:
    batch, height, width, channels = features.shape
    pooled = np.zeros((batch, channels))
    for i in range(batch):
        for c in range(channels):
            total = 0.0
            for row in range(height):
                for column in range(width):
                    total += max(float(features[i, row, column, c]), 1e-6) ** p
            pooled[i, c] = (total / (height * width)) ** (1 / p)
    return pooled


def _features() -> np.ndarray:
    features = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    features[1, :, :, 2] = -1.0  # nothing positive at all
    features[0, :, :, 3] = 0.0
    return features


@pytest.mark.parametrize("p", [1.0, 3.0, 4.7])
def test_it_is_the_mean_of_powers(p):
    found = GeneralizedMean().apply({"params": {"p": np.float32(p)}}, _features())
    np.testing.assert_allclose(found, _looped(_features(), p), rtol=1e-5)


def test_p_starts_at_three_and_is_learnt():
    variables = GeneralizedMean().init(jax.random.key(0), _features())
    assert jax.tree.map(float, variables) == {"params": {"p": 3.0}}

    def total(p):
        return GeneralizedMean().apply({"params": {"p": p}}, _features()).sum()

    slope = (_looped(_features(), 3.001).sum() - _looped(_features(), 2.999).sum()) / 0.002
    np.testing.assert_allclose(jax.grad(total)(np.float32(3)), slope, rtol=1e-3)


def test_gradients_are_finite_where_nothing_is_positive():
    gradient = jax.grad(lambda features: GeneralizedMean().apply({"params": {"p": np.float32(3)}}, features).sum())
    assert np.isfinite(gradient(_features())).all()


def test_the_average_is_that_of_every_channel():
    features = _features()
    found = AverageAggregation().apply({}, features)
    expected = [[features[i, :, :, c].sum() / 15 for c in range(4)] for i in range(2)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert not AverageAggregation().init(jax.random.key(0), features)


def test_average_then_linear():
    features = np.random.default_rng(0).normal(size=(3, 2, 5, 16)).astype(np.float32)
    module = FullyConnectedAggregation(descriptor_dim=7, dropout=0.5)
    descriptor, variables = module.init_with_output(jax.random.key(0), features, train=False)
    linear = variables["params"]["linear"]
    expected = features.reshape(3, 10, 16).mean(axis=1) @ np.asarray(linear["kernel"]) + np.asarray(linear["bias"])
    np.testing.assert_allclose(descriptor, expected, rtol=1e-5)
    assert (linear["bias"] == 0.1).all()
    assert 0 < abs(linear["kernel"]).max() <= 0.01


def test_dropout_only_in_training_and_only_of_features():
    features = np.ones((1, 2, 2, 400), np.float32)
    module = FullyConnectedAggregation(descriptor_dim=400, dropout=0.25)
    variables = {"params": {"linear": {"kernel": jnp.eye(400), "bias": jnp.zeros(400)}}}
    np.testing.assert_allclose(module.apply(variables, features, train=False), 1.0)
    dropped = module.apply(variables, features, train=True, rngs={"dropout": jax.random.key(0)})
    assert set(np.unique(np.round(dropped, 4))) == {0.0, np.float32(1.3333)}
    assert 0.15 < float((dropped == 0).mean()) < 0.35
