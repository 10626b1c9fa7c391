"""The offset loss is the authors', without their weight of 1/100."""

import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from vigor_jax.losses import offset_regression
from vigor_jax.parallel.mesh import data_mesh, pmap


def test_explicit_sum():
    predicted = np.array([[0.5, -1.0], [0.0, 0.25]], np.float32)
    target = np.array([[0.0, 1.0], [0.5, 0.25]], np.float32)
    np.testing.assert_allclose(offset_regression(predicted, target), (0.25 + 4.0 + 0.25 + 0.0) / 2, rtol=1e-6)


def test_the_authors_value(vigor_reference):
    value = offset_regression(vigor_reference["offset_pred"], vigor_reference["offset_target"])
    np.testing.assert_allclose(value / 100, vigor_reference["out_offset"], atol=1e-5, rtol=0)


def test_devices_together_give_the_value_and_gradient_of_one():
    rng = np.random.default_rng(0)
    features, target = rng.normal(size=(12, 3)).astype(np.float32), rng.normal(size=(12, 2)).astype(np.float32)
    kernel = rng.normal(size=(3, 2)).astype(np.float32)

    def loss(kernel, features, target, axis_name=None):
        return offset_regression(features @ kernel, target, axis_name=axis_name)

    value, gradient = jax.value_and_grad(loss)(kernel, features, target)
    mapped = pmap(
        lambda kernel, *rows: jax.value_and_grad(lambda k: loss(k, *rows, axis_name="data"))(kernel),
        data_mesh(jax.devices()[:4]),
        in_specs=(P(), P("data"), P("data")),
        out_specs=P(),  # checked: equal on every device
    )
    mapped_value, mapped_gradient = mapped(kernel, features, target)
    np.testing.assert_allclose(mapped_value, value, rtol=1e-6)
    np.testing.assert_allclose(mapped_gradient, gradient, rtol=1e-5)
