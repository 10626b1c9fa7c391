"""The IOU loss is the authors', without their weight of 1/10."""

import jax
import jax.numpy as jnp
import numpy as np

from vigor_jax.losses import iou_ratio


def test_explicit_sum():
    rng = np.random.default_rng(0)
    ground, positive, semi = (rng.normal(size=(5, 3)).astype(np.float32) for _ in range(3))
    ratio = rng.uniform(size=5).astype(np.float32)
    expected = np.mean([(g @ s / (g @ p) - r) ** 2 for g, p, s, r in zip(ground, positive, semi, ratio, strict=True)])
    np.testing.assert_allclose(iou_ratio(ground, positive, semi, ratio), expected, rtol=1e-4)


def test_the_authors_value_and_gradients(vigor_reference):
    ground, positive, semi = (jnp.asarray(vigor_reference[key]) for key in ("grd", "sat", "semi"))
    ratio = jnp.asarray(vigor_reference["iou_ratio"], jnp.float32)
    value, gradients = jax.value_and_grad(iou_ratio, argnums=(0, 1, 2))(ground, positive, semi, ratio)
    np.testing.assert_allclose(value / 10, vigor_reference["out_iou"], atol=1e-5, rtol=0)
    for gradient, key in zip(gradients, ("out_gi_grd", "out_gi_sat", "out_gi_semi"), strict=True):
        np.testing.assert_allclose(gradient / 10, vigor_reference[key], atol=1e-5, rtol=0)
