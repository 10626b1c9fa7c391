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


def test_projection_of_each_head_by_explicit_loops():
    features = np.random.default_rng(0).uniform(size=(2, 2, 3, 5)).astype(np.float32)
    projected, variables = SpatialAwareAggregation(3, 0.5, channels_per_head=2).init_with_output(
        jax.random.key(0), features
    )
    params = dict(variables["params"])
    projection = np.asarray(params.pop("projection"), np.float64)
    assert projection.shape == (3, 5, 2)
    assert projected.shape == (2, 6)
    whole = SpatialAwareAggregation(3, 0.5).apply({"params": params}, features)
    for image in range(2):
        for head in range(3):
            expected = np.asarray(whole[image, head * 5 : (head + 1) * 5], np.float64) @ projection[head]
            np.testing.assert_allclose(projected[image, head * 2 : (head + 1) * 2], expected, rtol=1e-5)


@pytest.mark.parametrize(("heads", "channels", "kept"), [(4, 12, 3), (2, 8, 1), (5, 8, 3), (3, 4, 4), (1, 1, 1)])
def test_projection_starts_orthonormal_and_alike_in_both_views(heads, channels, kept):
    starts = [
        SpatialAwareAggregation(heads, channels_per_head=kept).init(jax.random.key(seed), jnp.zeros(shape))["params"]
        for seed, shape in enumerate([(1, 2, 2, channels), (1, 2, 4, channels)])
    ]
    projection = np.asarray(starts[0]["projection"], np.float64)
    np.testing.assert_array_equal(projection, starts[1]["projection"])
    for head in projection:
        np.testing.assert_allclose(head.T @ head, np.eye(kept), atol=1e-6)
    together = projection.transpose(1, 0, 2).reshape(channels, -1)
    # No channel is lost until there is no room for it.
    assert np.linalg.matrix_rank(together, tol=1e-4) == min(channels, heads * kept)


def test_without_a_projection_nothing_changes():
    features = np.random.default_rng(0).uniform(size=(2, 2, 3, 4)).astype(np.float32)
    plain, variables = SpatialAwareAggregation(2, 0.5).init_with_output(jax.random.key(0), features)
    assert set(variables["params"]) == {"kernel_in", "bias_in", "kernel_out", "bias_out"}
    # A projection takes nothing from the random stream: the other parameters start alike.
    projected = SpatialAwareAggregation(2, 0.5, channels_per_head=4).init(jax.random.key(0), features)["params"]
    for name, value in variables["params"].items():
        np.testing.assert_array_equal(projected[name], value)
    assert plain.shape == (2, 8)


@pytest.mark.parametrize("channels", [0, 5])
def test_channels_that_the_features_do_not_have_are_refused(channels):
    with pytest.raises(ValueError, match=f"channels_per_head = {channels}: .* 1 to 4"):
        SpatialAwareAggregation(2, channels_per_head=channels).init(jax.random.key(0), jnp.zeros((1, 2, 2, 4)))
