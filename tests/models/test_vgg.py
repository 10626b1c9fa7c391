"""VGG-16 against convolutions written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax.models.vgg import VGG, layers, max_pool_2x2


def _explicit_pool(features: np.ndarray) -> np.ndarray:
    batch, height, width, channels = features.shape
    pooled = np.empty((batch, -(-height // 2), -(-width // 2), channels), features.dtype)
    for i in range(pooled.shape[1]):
        for j in range(pooled.shape[2]):
            pooled[:, i, j] = features[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max(axis=(1, 2))
    return pooled


def _explicit_vgg(params: dict, images: np.ndarray) -> np.ndarray:
    features = images.astype(np.float64)
    for layer in layers("D"):
        if layer.endswith("_1") and layer != "conv1_1":
            features = _explicit_pool(features)
        kernel, bias = (np.asarray(params[layer][part], np.float64) for part in ("kernel", "bias"))
        _, height, width, _ = features.shape
        padded = np.pad(features, ((0, 0), (1, 1), (1, 1), (0, 0)))
        total = sum(padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3))
        features = np.maximum(total + bias, 0)
    return features


def _random_params(model: VGG) -> dict:
    """Without the compilation of an initialisation; biases too, so that a missing one shows."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    rng = np.random.default_rng(1)
    scales = jax.tree.map(lambda leaf: np.sqrt(2 / np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.1, shapes)
    return jax.tree.map(lambda leaf, scale: (rng.normal(size=leaf.shape) * scale).astype(np.float32), shapes, scales)


def test_features_are_those_of_explicit_convolutions():
    images = np.random.default_rng(0).normal(size=(2, 40, 56, 3)).astype(np.float32)
    model = VGG(width=0.0625)
    params = _random_params(model)
    features = jax.jit(model.apply)({"params": params}, images)
    assert features.shape == (2, 3, 4, 32)
    np.testing.assert_allclose(features, _explicit_vgg(params, images), rtol=1e-3, atol=1e-4)


def test_layers_and_shapes_of_full_width():
    shapes = jax.eval_shape(VGG().init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    assert tuple(shapes) == layers("D")
    assert len(layers("D")) == 13
    # The published convolutional part: 138,357,544 parameters less the three fully connected layers.
    fully_connected = (25088 * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * 1000 + 1000)
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == 138_357_544 - fully_connected


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (1, 5, 7, 2), (1, 1, 1, 1)])
def test_pool_keeps_the_last_row_and_column(shape):
    features = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(max_pool_2x2(jnp.asarray(features)), _explicit_pool(features))
    gradient = jax.grad(lambda x: max_pool_2x2(x).sum())(jnp.asarray(features))
    assert gradient.sum() == np.prod(_explicit_pool(features).shape)  # one winner a window
    assert set(np.unique(gradient)) <= {0.0, 1.0}


def test_rematerialised_stages_keep_little_for_the_backward_pass():
    """Beside the weights; what XLA makes of it is the backend's affair."""
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)

    def kept(remat: bool) -> int:
        model = VGG(remat=remat)
        variables = jax.eval_shape(model.init, jax.random.key(0), images)
        _, back = jax.eval_shape(lambda variables, images: jax.vjp(model.apply, variables, images), variables, images)
        weights = {leaf.shape for leaf in jax.tree.leaves(variables)}
        return sum(leaf.size for leaf in jax.tree.leaves(back) if leaf.shape not in weights)

    assert kept(True) < 0.1 * kept(False)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_equal_winners_share_the_gradient_of_their_window(dtype):
    """Frequent in bfloat16: given whole to each of them, the gradient of a window would grow."""
    features = jnp.asarray([[1, 1, 1, 1], [3, 3, 0, 0], [0, 2, 2, 0]], dtype).reshape(3, 2, 2, 1)
    gradient = jax.grad(lambda x: (max_pool_2x2(x).astype(jnp.float32) * jnp.arange(1, 4)[:, None, None, None]).sum())
    shares = [[0.25, 0.25, 0.25, 0.25], [1, 1, 0, 0], [0, 1.5, 1.5, 0]]
    np.testing.assert_array_equal(gradient(features).astype(jnp.float32).reshape(3, 4), shares)


def test_random_start_is_he_normal():
    init = jax.jit(lambda key: VGG().init(key, jnp.zeros((1, 32, 32, 3)))["params"]["conv3_1"])
    layer = init(jax.random.key(0))
    np.testing.assert_allclose(layer["kernel"].std(), np.sqrt(2 / (9 * 128)), rtol=0.02)
    assert not layer["bias"].any()


def test_bfloat16_computation_keeps_float32_parameters():
    model = VGG(width=0.0625, dtype=jnp.bfloat16)
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    variables = {"params": _random_params(model)}
    features, exact = jax.jit(lambda: (model.apply(variables, images), VGG(width=0.0625).apply(variables, images)))()
    assert features.dtype == jnp.bfloat16
    np.testing.assert_allclose(features.astype(jnp.float32), exact, atol=0.05 * float(exact.max()))
