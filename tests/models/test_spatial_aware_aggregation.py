"""SAFA is the authors', value by value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax.models import SpatialAwareAggregation


@pytest.mark.parametrize("view", ["aerial", "ground"])
def test_the_authors_attention_and_descriptor(view, vigor_reference):
    of = {key: vigor_reference[f"safa_{view}_{key}"] for key in ("feat", "weights1", "biases1", "weights2", "biases2")}
    params = {
        "kernel_in": of["weights1"],
        "bias_in": of["biases1"][0],
        "kernel_out": of["weights2"],
        "bias_out": of["biases2"][0],
    }
    module = SpatialAwareAggregation(8)
    descriptor, state = module.apply({"params": params}, of["feat"], mutable=["intermediates"])
    attention = state["intermediates"]["attention"][0]
    np.testing.assert_allclose(attention, vigor_reference[f"safa_{view}_attention"], atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(descriptor, vigor_reference[f"safa_{view}_descriptor"], atol=1e-5, rtol=1e-5)
    unit = descriptor / jnp.linalg.norm(descriptor, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, vigor_reference[f"safa_{view}_unit"], atol=1e-5, rtol=0)


def test_explicit_loops():
    features = np.random.default_rng(0).uniform(size=(2, 2, 3, 4)).astype(np.float32)
    module = SpatialAwareAggregation(2, kernel_std=0.5)
    descriptor, variables = module.init_with_output(jax.random.key(0), features)
    p = {name: np.asarray(value, np.float64) for name, value in variables["params"].items()}
    assert {name: value.shape for name, value in p.items()} == {
        "kernel_in": (6, 3, 2),
        "bias_in": (3, 2),
        "kernel_out": (3, 6, 2),
        "bias_out": (6, 2),
    }
    for image in range(2):
        positions = [features[image, row, column] for row in range(2) for column in range(3)]
        strongest = np.array([position.max() for position in positions])
        for head in range(2):
            between = strongest @ p["kernel_in"][:, :, head] + p["bias_in"][:, head]
            attention = between @ p["kernel_out"][:, :, head] + p["bias_out"][:, head]
            expected = sum(weight * position for weight, position in zip(attention, positions, strict=True))
            np.testing.assert_allclose(descriptor[image, head * 4 : (head + 1) * 4], expected, rtol=1e-5)


def test_start_values_are_the_authors():
    params = SpatialAwareAggregation(8).init(jax.random.key(0), jnp.zeros((1, 10, 10, 4)))["params"]
    assert (params["bias_in"] == 0.1).all()
    assert (params["bias_out"] == 0.1).all()
    for name in ("kernel_in", "kernel_out"):
        assert abs(params[name]).max() <= 0.01  # two standard deviations
        # A normal cut at two standard deviations keeps 0.880 of its own.
        np.testing.assert_allclose(params[name].std(), 0.005 * 0.8796, rtol=0.02)


def test_bfloat16_features_give_a_float32_descriptor():
    features = np.random.default_rng(0).uniform(size=(2, 4, 4, 8)).astype(np.float32)
    exact, variables = SpatialAwareAggregation(2, 0.3).init_with_output(jax.random.key(0), features)
    low = SpatialAwareAggregation(2, 0.3, jnp.bfloat16).apply(variables, jnp.asarray(features, jnp.bfloat16))
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, exact, atol=0.02 * float(abs(exact).max()))


def test_a_single_position_is_refused():
    with pytest.raises(ValueError, match="1 x 1 positions"):
        SpatialAwareAggregation(2).init(jax.random.key(0), jnp.zeros((1, 1, 1, 4)))
