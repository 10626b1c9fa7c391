"""The IOU loss without its quotient: the same zeros, and bounded where the quotient is not."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from vigor_jax.losses import iou_difference, iou_ratio
from vigor_jax.parallel.mesh import data_mesh, pmap


def _rows(count: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(count, 5)).astype(np.float32) for _ in range(3)]
    units = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in rows]
    return *units, rng.uniform(0, 0.9, count).astype(np.float32)


def test_explicit_sum_of_the_rows_that_count():
    rows = _rows(6)
    valid = np.array([True, True, False, True, False, True])
    terms = [(g @ s - r * (g @ p)) ** 2 for g, p, s, r in zip(*rows, strict=True)]
    np.testing.assert_allclose(iou_difference(*rows), np.mean(terms), rtol=1e-5)
    np.testing.assert_allclose(iou_difference(*rows, valid=valid), np.mean(np.array(terms)[valid]), rtol=1e-5)
    assert iou_difference(*rows, valid=np.zeros(6, bool)) == 0


def test_rows_that_do_not_count_do_not_reach_the_gradient():
    rows = _rows(4)
    valid = np.array([True, False, True, True])
    rows[3][1] = np.nan  # the overlap with a positive that does not touch its panorama
    value, gradients = jax.value_and_grad(iou_difference, argnums=(0, 1, 2))(*rows, valid=valid)
    expected, expected_gradients = jax.value_and_grad(iou_difference, argnums=(0, 1, 2))(*(row[valid] for row in rows))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient[valid], expected_gradient, rtol=1e-5)
        np.testing.assert_array_equal(gradient[~valid], 0)


def test_it_is_the_quotient_s_loss_weighted_by_the_squared_similarity_of_the_positive():
    for row in zip(*_rows(6), strict=True):
        single = [np.asarray(value)[None] for value in row]
        weight = float(row[0] @ row[1]) ** 2
        np.testing.assert_allclose(iou_difference(*single), weight * iou_ratio(*single), rtol=1e-4)


def test_bounded_where_the_positive_is_orthogonal():
    ground, positive, semi = (jnp.eye(3)[None, i] for i in range(3))
    value, gradient = jax.value_and_grad(iou_difference)(ground, positive, (ground + semi) / 2**0.5, jnp.array([0.5]))
    np.testing.assert_allclose(value, 0.5, rtol=1e-6)
    assert np.isfinite(gradient).all()


def test_rows_on_devices_are_the_rows_of_one():
    rows = _rows(8)
    valid = np.arange(8) % 3 != 0
    mesh = data_mesh(jax.devices()[:4])
    split = (P("data"),) * 5
    mapped = pmap(lambda *local: iou_difference(*local[:4], valid=local[4], axis_name="data"), mesh, split, P())
    np.testing.assert_allclose(mapped(*rows, valid), iou_difference(*rows, valid=valid), rtol=1e-6)
