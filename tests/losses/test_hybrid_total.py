"""The two losses of the hybrid training together are the authors' total."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from vigor_jax import geometry
from vigor_jax.losses import iou_ratio, soft_margin_triplet


def test_the_authors_value_and_gradients(vigor_reference):
    of = vigor_reference
    ratio = geometry.tile_iou(of["delta_semi_px"]) / geometry.tile_iou(of["delta_pos_px"])
    np.testing.assert_allclose(ratio, of["iou_ratio"], rtol=1e-5)

    def total(aerial, ground, semi):
        return soft_margin_triplet(aerial, ground) + iou_ratio(ground, aerial, semi, ratio.astype(np.float32)) / 10

    embeddings = (jnp.asarray(of[key]) for key in ("sat", "grd", "semi"))
    value, gradients = jax.value_and_grad(total, argnums=(0, 1, 2))(*embeddings)
    diagonal = math.log(2) / (len(of["sat"]) - 1)  # the authors' sum also runs over it
    np.testing.assert_allclose(value + diagonal, of["out_total"], atol=1e-5, rtol=0)
    expected = (of["out_g_sat"] + of["out_gi_sat"], of["out_g_grd"] + of["out_gi_grd"], of["out_gi_semi"])
    for gradient, theirs in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, theirs, atol=1e-5, rtol=0)
