"""The head of Siamese-VGG."""

import jax
import jax.numpy as jnp
import numpy as np

from vigor_jax.models.fully_connected_aggregation import FullyConnectedAggregation


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
