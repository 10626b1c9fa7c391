"""The IOU loss is the authors', without their weight of 1/10."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from vigor_jax import geometry
from vigor_jax.losses import iou_ratio
from vigor_jax.parallel.mesh import data_mesh, pmap


def _rows(count: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    ground, positive, semi = (rng.normal(size=(count, 3)).astype(np.float32) for _ in range(3))
    return ground, positive, semi, rng.uniform(size=count).astype(np.float32)


def test_explicit_sum():
    ground, positive, semi, ratio = _rows(5)
    expected = np.mean([(g @ s / (g @ p) - r) ** 2 for g, p, s, r in zip(ground, positive, semi, ratio, strict=True)])
    np.testing.assert_allclose(iou_ratio(ground, positive, semi, ratio), expected, rtol=1e-4)


def test_the_authors_value_and_gradients(vigor_reference):
    ground, positive, semi = (jnp.asarray(vigor_reference[key]) for key in ("grd", "sat", "semi"))
    ratio = jnp.asarray(vigor_reference["iou_ratio"], jnp.float32)
    value, gradients = jax.value_and_grad(iou_ratio, argnums=(0, 1, 2))(ground, positive, semi, ratio)
    np.testing.assert_allclose(value / 10, vigor_reference["out_iou"], atol=1e-5, rtol=0)
    for gradient, key in zip(gradients, ("out_gi_grd", "out_gi_sat", "out_gi_semi"), strict=True):
        np.testing.assert_allclose(gradient / 10, vigor_reference[key], atol=1e-5, rtol=0)


def test_the_authors_value_from_the_offsets_alone(vigor_reference):
    positive_iou, semi_iou = (geometry.tile_iou(vigor_reference[f"delta_{tile}_px"]) for tile in ("pos", "semi"))
    value = iou_ratio(
        *(vigor_reference[key] for key in ("grd", "sat", "semi")), (semi_iou / positive_iou).astype(np.float32)
    )
    np.testing.assert_allclose(value / 10, vigor_reference["out_iou"], atol=1e-5, rtol=0)


def test_only_valid_rows_count_in_value_and_gradient():
    rows = _rows(7)
    valid = np.array([True, False, True, True, False, False, True])
    # Rows that would ruin the sum: an orthogonal positive, a ratio of nothing.
    rows[1][1] = 0
    rows[3][4] = np.nan
    value_and_grad = jax.value_and_grad(iou_ratio, argnums=(0, 1, 2))
    value, gradients = value_and_grad(*rows, valid=valid)
    expected, expected_gradients = value_and_grad(*(array[valid] for array in rows))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient[valid], expected_gradient, rtol=1e-5)
        np.testing.assert_array_equal(gradient[~valid], 0)


def test_all_valid_is_the_plain_mean_and_none_valid_is_zero():
    rows = _rows(6)
    np.testing.assert_allclose(iou_ratio(*rows, valid=np.ones(6, bool)), iou_ratio(*rows), rtol=1e-6)
    value, gradient = jax.value_and_grad(iou_ratio)(*rows, valid=np.zeros(6, bool))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("devices", [1, 2, 8])
@pytest.mark.parametrize("masked", [False, True])
def test_devices_together_give_the_value_and_gradient_of_one(devices, masked):
    ground, positive, semi, ratio = _rows(16)
    # The valid rows are unevenly spread, one device of eight has none.
    valid = np.arange(16) % 5 > 1
    valid[4:6] = False
    kernel = np.random.default_rng(5).normal(size=(3, 4)).astype(np.float32)

    def loss(kernel, ground, positive, semi, ratio, valid, axis_name=None):
        unit = [v @ kernel / jnp.linalg.norm(v @ kernel, axis=1, keepdims=True) for v in (ground, positive, semi)]
        return iou_ratio(*unit, ratio, valid=valid if masked else None, axis_name=axis_name)

    value, gradient = jax.value_and_grad(loss)(kernel, ground, positive, semi, ratio, valid)
    mapped = pmap(
        lambda kernel, *rows: jax.value_and_grad(lambda k: loss(k, *rows, axis_name="data"))(kernel),
        data_mesh(jax.devices()[:devices]),
        in_specs=(P(), *(P("data"),) * 5),
        out_specs=P(),  # checked: equal on every device
    )
    mapped_value, mapped_gradient = mapped(kernel, ground, positive, semi, ratio, valid)
    np.testing.assert_allclose(mapped_value, value, rtol=1e-5)
    np.testing.assert_allclose(mapped_gradient, gradient, rtol=1e-4, atol=1e-6 * float(abs(gradient).max()))
