"""VGG against convolutions written out in NumPy, and against the paper's counts."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax.errors import UserError
from vigor_jax.models.classifier import Classifier, classifier
from vigor_jax.models.cost import cost
from vigor_jax.models.pretrained.conversion import variable_shapes
from vigor_jax.models.vgg import NAMES, VGG, VGGHead, layers, max_pool_2x2


def _explicit_pool(features: np.ndarray) -> np.ndarray:
    batch, height, width, channels = features.shape
    pooled = np.empty((batch, -(-height // 2), -(-width // 2), channels), features.dtype)
    for i in range(pooled.shape[1]):
        for j in range(pooled.shape[2]):
            pooled[:, i, j] = features[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max(axis=(1, 2))
    return pooled


def _explicit_vgg(params: dict, images: np.ndarray) -> list[np.ndarray]:
    maps, features = [], images.astype(np.float64)
    for layer in layers("D"):
        if layer.endswith("_1") and layer != "conv1_1":
            maps.append(features)
            features = _explicit_pool(features)
        kernel, bias = (np.asarray(params[layer][part], np.float64) for part in ("kernel", "bias"))
        _, height, width, _ = features.shape
        padded = np.pad(features, ((0, 0), (1, 1), (1, 1), (0, 0)))
        total = sum(padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3))
        features = np.maximum(total + bias, 0)
    return [*maps, features]


def _random_params(model: nn.Module, shape: tuple[int, ...] = (1, 32, 32, 3)) -> dict:
    """Without the compilation of an initialisation; biases too, so that a missing one shows."""
    shapes = variable_shapes(model, shape)["params"]
    rng = np.random.default_rng(1)
    scales = jax.tree.map(lambda leaf: np.sqrt(2 / np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.1, shapes)
    return jax.tree.map(lambda leaf, scale: (rng.normal(size=leaf.shape) * scale).astype(np.float32), shapes, scales)


def test_maps_are_those_of_explicit_convolutions():
    images = np.random.default_rng(0).normal(size=(2, 40, 56, 3)).astype(np.float32)
    model = VGG(width=0.0625)
    params = _random_params(model)
    maps = jax.jit(model.apply)({"params": params}, images)
    assert maps[-1].shape == (2, 3, 4, 32)
    for ours, explicit in zip(maps, _explicit_vgg(params, images), strict=True):
        np.testing.assert_allclose(ours, explicit, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "parameters", "giga_multiply_adds"),
    [
        ("vgg11", 132_863_336, 7.61),
        ("vgg11_lrn", 132_863_336, 7.61),
        ("vgg13", 133_047_848, 11.31),
        ("vgg16_1x1", 133_638_952, 11.77),
        ("vgg16", 138_357_544, 15.47),
        ("vgg19", 143_667_240, 19.63),
    ],
)
def test_counts_of_the_paper(name, parameters, giga_multiply_adds):
    """The parameters of table 2, to the last one."""
    total = cost(classifier(name, 1000), 224, 224).total
    assert total.parameters == parameters
    assert round(total.multiply_adds / 1e9, 2) == giga_multiply_adds


def test_the_deeper_configuration_differs_from_the_other_by_its_size_alone():
    shapes = {name: variable_shapes(VGG(configuration), (1, 32, 32, 3)) for name, configuration in NAMES.items()}
    kernels = {
        name: {layer: one["kernel"].shape[:2] for layer, one in of["params"].items()} for name, of in shapes.items()
    }
    assert [len(of) + 3 for of in kernels.values()] == [11, 11, 13, 16, 16, 19]
    points = {"conv3_3", "conv4_3", "conv5_3"}
    assert {layer for layer, size in kernels["vgg16_1x1"].items() if size == (1, 1)} == points
    assert all(size == (3, 3) for name in ("vgg11", "vgg13", "vgg16", "vgg19") for size in kernels[name].values())


def test_layers_and_shapes_of_full_width():
    shapes = jax.eval_shape(VGG().init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    assert tuple(shapes) == layers("D")
    assert len(layers("D")) == 13
    # The published convolutional part: 138,357,544 parameters less the three fully connected layers.
    fully_connected = (25088 * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * 1000 + 1000)
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == 138_357_544 - fully_connected


def _head(positions: int, **options) -> tuple[VGGHead, dict]:
    head = VGGHead(positions, width=0.005, **options)
    return head, {"params": _random_params(head, (1, 2 * positions, 2 * positions, 6))}


def test_head_slides_over_larger_images():
    """As many fully connected heads as there are windows, one by one."""
    head, variables = _head(3)
    features = np.random.default_rng(0).normal(size=(2, 10, 13, 6)).astype(np.float32)  # 5 x 7 after the pool
    pooled = np.maximum(_explicit_pool(features), -np.inf)
    fc6, fc7 = variables["params"]["fc6"], variables["params"]["fc7"]
    windows = [pooled[:, i : i + 3, j : j + 3].reshape(2, -1) for i in range(3) for j in range(5)]
    hidden = [np.maximum(window @ fc6["kernel"].reshape(-1, 20) + fc6["bias"], 0) for window in windows]
    expected = np.mean([np.maximum(one @ fc7["kernel"] + fc7["bias"], 0) for one in hidden], axis=0)
    np.testing.assert_allclose(jax.jit(head.apply)(variables, features), expected, rtol=1e-5, atol=1e-6)
    # The fully connected layers of training, by another product.
    small = features[:, 2:8, 4:10]
    np.testing.assert_allclose(
        jax.jit(head.apply)(variables, small),
        np.maximum(hidden[7] @ fc7["kernel"] + fc7["bias"], 0),
        rtol=1e-5,
        atol=1e-6,
    )


def test_dense_evaluation_is_a_window_that_slides_by_32_pixels():
    """Over what lies so far from the edges that no convolution sees padding: there all windows are one network."""
    model = Classifier(VGG("A", width=0.03), VGGHead(2, width=0.005), classes=5)
    variables = {"params": _random_params(model, (1, 64, 64, 3))}
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, 416, 448, 3)).astype(np.float32)

    @jax.jit
    def pooled(image):
        return max_pool_2x2(model.backbone.apply({"params": variables["params"]["backbone"]}, image)[-1])

    def scores(places):
        params = variables["params"]["head"]
        windows = places.reshape(len(places), -1)
        hidden = np.maximum(windows @ params["fc6"]["kernel"].reshape(windows.shape[1], -1) + params["fc6"]["bias"], 0)
        hidden = np.maximum(hidden @ params["fc7"]["kernel"] + params["fc7"]["bias"], 0)
        logits = variables["params"]["logits"]
        return hidden @ logits["kernel"] + logits["bias"]

    whole = pooled(image)
    margin = 2  # positions of 32 pixels; VGG-11's last convolution sees 59 pixels to every side of its own
    moved = pooled(image[:, 32:-32, 64:-32])
    np.testing.assert_allclose(
        moved[:, margin:-margin, margin:-margin],
        whole[:, 1 + margin : -1 - margin, 2 + margin : -1 - margin],
        atol=1e-5,
    )
    everywhere = [scores(np.asarray(whole[:, i : i + 2, j : j + 2])) for i in range(12) for j in range(13)]
    np.testing.assert_allclose(
        jax.jit(model.apply)(variables, image), np.mean(everywhere, axis=0), rtol=1e-5, atol=1e-5
    )


def test_head_refuses_images_that_its_first_layer_does_not_fit():
    head, variables = _head(3)
    with pytest.raises(UserError, match=r"covers 3 x 3 positions, images of 96 pixels; this image has 2 x 3"):
        head.apply(variables, np.zeros((1, 4, 6, 6), np.float32))


def test_head_drops_out_of_both_layers_in_training():
    head, variables = _head(1, dropout=0.5)
    features = np.random.default_rng(0).normal(size=(400, 2, 2, 6)).astype(np.float32)
    apply = jax.jit(functools.partial(head.apply, train=True, capture_intermediates=True, mutable=["intermediates"]))
    out, seen = apply(variables, features, rngs={"dropout": jax.random.key(0)})
    fc6, fc7 = (seen["intermediates"][name]["__call__"][0] for name in ("fc6", "fc7"))
    dropped = seen["intermediates"]["Dropout_0"]["__call__"]
    assert len(dropped) == 2
    for before, after in zip((fc6, fc7), dropped, strict=True):
        active = before > 0
        assert 0.45 < (after[active] == 0).mean() < 0.55
        kept = active & (after > 0)
        np.testing.assert_allclose(after[kept], 2 * before[kept], rtol=1e-6)
    np.testing.assert_array_equal(out, dropped[1][:, 0, 0])
    first, second = (jax.jit(head.apply)(variables, features) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_registered_classifier_fits_its_head_to_the_image_and_drops_out_twice():
    model = classifier("vgg16", 7, image_size=80)
    assert (model.head.positions, model.head.dropout, model.dropout) == (3, 0.5, 0.0)
    assert classifier("vgg16", 7).head.positions == 7
    assert classifier("vgg16", 7, dropout=0.2).head.dropout == 0.2
    normal = classifier("vgg11", 7, initialisation="normal")
    assert (normal.backbone.initialisation, normal.head.initialisation) == ("normal", "normal")
    with pytest.raises(UserError, match="resnet50 has one initialisation"):
        classifier("resnet50", 7, initialisation="normal")
    logits, variables = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), jnp.zeros((2, 80, 80, 3), jnp.float32))
    )
    assert logits.shape == (2, 7)
    assert variables["params"]["head"]["fc6"]["kernel"].shape == (3, 3, 512, 4096)


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


@pytest.mark.parametrize(
    ("initialisation", "deviation"),
    [("he", np.sqrt(2 / (9 * 128))), ("glorot", np.sqrt(2 / (9 * 128 + 9 * 256))), ("normal", 0.01)],
)
def test_random_start(initialisation, deviation):
    model = VGG(initialisation=initialisation)
    init = jax.jit(lambda key: model.init(key, jnp.zeros((1, 32, 32, 3)))["params"]["conv3_1"])
    layer = init(jax.random.key(0))
    np.testing.assert_allclose(layer["kernel"].std(), deviation, rtol=0.02)
    assert not layer["bias"].any()


def test_random_start_of_the_head():
    init = jax.jit(lambda key: VGGHead(1, width=0.1, initialisation="normal").init(key, jnp.zeros((1, 2, 2, 512))))
    for layer in init(jax.random.key(0))["params"].values():
        np.testing.assert_allclose(layer["kernel"].std(), 0.01, rtol=0.02)
        assert not layer["bias"].any()


def test_bfloat16_computation_keeps_float32_parameters():
    model = VGG(width=0.0625, dtype=jnp.bfloat16)
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    variables = {"params": _random_params(model)}
    exact_model = VGG(width=0.0625)
    features, exact = jax.jit(lambda: (model.apply(variables, images)[-1], exact_model.apply(variables, images)[-1]))()
    assert features.dtype == jnp.bfloat16
    np.testing.assert_allclose(features.astype(jnp.float32), exact, atol=0.05 * float(exact.max()))
