"""Cross-entropy by its definition, on one device and on several."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from vigor_jax.losses import cross_entropy
from vigor_jax.parallel.mesh import data_mesh, pmap


def test_explicit_sum():
    logits = np.random.default_rng(0).normal(scale=3, size=(5, 100)).astype(np.float32)
    cell = np.array([0, 99, 5, 5, 42])
    expected = 0.0
    for row, true in zip(logits.astype(np.float64), cell, strict=True):
        expected -= math.log(math.exp(row[true]) / sum(math.exp(value) for value in row)) / 5
    np.testing.assert_allclose(cross_entropy(logits, cell), expected, rtol=1e-6)


def test_no_knowledge_costs_the_logarithm_of_the_classes_and_extremes_stay_finite():
    np.testing.assert_allclose(cross_entropy(np.zeros((3, 100)), np.array([1, 2, 3])), math.log(100), rtol=1e-6)
    logits = jnp.asarray([[1e4, -1e4]], jnp.bfloat16)
    value, gradient = jax.value_and_grad(cross_entropy)(logits, np.array([1]))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, 2e4, rtol=1e-2)
    assert np.isfinite(gradient.astype(np.float32)).all()


@pytest.mark.parametrize("cell", [-1, 100])
def test_a_class_that_does_not_exist_is_not_learnt_in_silence(cell):
    logits = np.zeros((2, 100), np.float32)
    assert np.isnan(jax.jit(cross_entropy)(logits, np.array([3, cell])))


def test_devices_together_give_the_value_and_gradient_of_one():
    rng = np.random.default_rng(0)
    features, cell = rng.normal(size=(12, 3)).astype(np.float32), rng.integers(0, 100, 12)
    kernel = rng.normal(size=(3, 100)).astype(np.float32)

    def loss(kernel, features, cell, axis_name=None):
        return cross_entropy(features @ kernel, cell, axis_name=axis_name)

    value, gradient = jax.value_and_grad(loss)(kernel, features, cell)
    mapped = pmap(
        lambda kernel, *rows: jax.value_and_grad(lambda k: loss(k, *rows, axis_name="data"))(kernel),
        data_mesh(jax.devices()[:4]),
        in_specs=(P(), P("data"), P("data")),
        out_specs=P(),  # checked: equal on every device
    )
    mapped_value, mapped_gradient = mapped(kernel, features, cell)
    np.testing.assert_allclose(mapped_value, value, rtol=1e-6)
    np.testing.assert_allclose(mapped_gradient, gradient, rtol=1e-4, atol=1e-7)
