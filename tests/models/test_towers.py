"""Towers of every family of backbones: the same as one device computes, and of the shapes that they say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util
from jax.sharding import NamedSharding, PartitionSpec

from vigor_jax.errors import UserError
from vigor_jax.losses import soft_margin_triplet
from vigor_jax.models import CrossViewModel, registry, towers
from vigor_jax.models.cross_view import training_pairs
from vigor_jax.models.embedder import with_tower_weights
from vigor_jax.parallel import mesh as meshes

# Each program here runs once.
_QUICK = {"xla_backend_optimization_level": 0}
_REPLICATED, _BY_ROWS = PartitionSpec(), PartitionSpec(meshes.AXIS)
# One of each family, and a map of it that is not the last where there is one.
_FAMILIES = {
    "vgg11": 8,
    "mobilenet_0.25": 16,
    "resnet50": 16,
    "efficientnet_b0": 16,
    "convnext_tiny": 16,
    "swin_tiny": 16,
    "vit_small_14": 14,
}


def _images(rows: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    noise = [rng.uniform(0, 256, (rows, height, columns, 3)) for columns in (height, width)]
    # Each image of its own colour: averaged over an image, noise alone looks the same in all of them.
    return tuple((n * rng.uniform(size=(rows, 1, 1, 3))).astype(np.uint8) for n in noise)


def _step(model: CrossViewModel, variables, aerial, ground, axis_name=None):
    """Loss, mutable variables and gradient of a training step."""

    def loss(params):
        if axis_name is not None:  # as train.step does
            params = jax.lax.pcast(params, axis_name, to="varying")
        pairs, state = training_pairs(
            model, {**variables, "params": params}, aerial, ground, dropout=jax.random.key(0), axis_name=axis_name
        )
        return soft_margin_triplet(pairs.aerial, pairs.ground, axis_name=axis_name), state

    return jax.value_and_grad(loss, has_aux=True)(variables["params"])


def _difference(found, expected) -> float:
    """The largest difference of any array, relative to the largest value in it."""
    pairs = zip(*map(jax.tree.leaves, jax.device_get((found, expected))), strict=True)
    return max(float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-12)) for a, b in pairs)


def _quick(program):
    return jax.jit(program, compiler_options=_QUICK)


@pytest.fixture(scope="module")
def mobilenet():
    """A model of the smallest MobileNet, its variables, images, and what one device makes of them."""
    model = CrossViewModel("safa", "mobilenet_0.25", stride=4, num_heads=2, norm_momentum=0.9, final_pool=False)
    aerial, ground = _images(4, 16, 32)
    init = functools.partial(model.init, train=False)
    variables = jax.device_get(_quick(init)(jax.random.key(0), aerial, ground))
    return model, variables, (aerial, ground), _quick(functools.partial(_step, model))(variables, aerial, ground)


def test_two_devices_normalise_by_the_batch_of_both(mobilenet):
    model, variables, images, expected = mobilenet
    step = functools.partial(_step, model, axis_name=meshes.AXIS)
    mesh = meshes.data_mesh(jax.devices()[:2])
    mapped = meshes.pmap(step, mesh, (_REPLICATED, _BY_ROWS, _BY_ROWS), _REPLICATED)
    arguments = (
        jax.device_put(variables, meshes.replicated(mesh)),
        *jax.device_put(images, NamedSharding(mesh, _BY_ROWS)),
    )
    found = mapped.lower(*arguments).compile(_QUICK)(*arguments)
    (loss, state), gradient = expected
    (found_loss, found_state), found_gradient = found
    np.testing.assert_allclose(found_loss, loss, rtol=1e-5)
    assert _difference(found_state, state) < 1e-4
    assert float(optax.tree.norm(optax.tree.sub(found_gradient, gradient)) / optax.tree.norm(gradient)) < 1e-3


def test_training_moves_the_running_statistics_by_the_momentum(mobilenet):
    model, variables, images, ((_, state), _) = mobilenet
    before = variables["batch_stats"]["aerial_tower"]["conv_norm"]["var"]
    slow = model.clone(norm_momentum=0.99)
    encode = functools.partial(slow.apply, view="aerial", train=True, method="describe", mutable=["batch_stats"])
    _, slowly = _quick(encode)(variables, images[0])
    moved, less = (s["batch_stats"]["aerial_tower"]["conv_norm"]["var"] - before for s in (state, slowly))
    np.testing.assert_allclose(moved, 10 * less, rtol=1e-3, atol=1e-6)


def test_remat_computes_the_same_and_keeps_less(mobilenet):
    model, variables, images, expected = mobilenet
    lean = model.clone(remat=True)
    found = _quick(functools.partial(_step, lean))(variables, *images)
    assert _difference(found[0], expected[0]) < 1e-4
    difference = optax.tree.norm(optax.tree.sub(found[1], expected[1]))
    assert float(difference / optax.tree.norm(expected[1])) < 1e-3

    def kept(model: CrossViewModel) -> int:
        def descriptor(params):
            variables_now = {**variables, "params": params}
            described, _ = model.apply(
                variables_now, images[0], "aerial", train=True, method="describe", mutable=["batch_stats"]
            )
            return described

        _, backward = jax.eval_shape(lambda params: jax.vjp(descriptor, params), variables["params"])
        return sum(leaf.size for leaf in jax.tree.leaves(backward)) - parameters

    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]["aerial_tower"]))
    assert kept(lean) < 0.2 * kept(model)


@pytest.mark.parametrize(
    ("name", "aggregation"),
    [*((name, "safa") for name in _FAMILIES), ("vit_small_14", "gem"), ("vgg11", "average"), ("vgg11", "gem")],
)
def test_a_step_of_every_family(name, aggregation):
    stride = _FAMILIES[name]
    size = 56 if name.startswith("vit") else 64
    model = CrossViewModel(aggregation, name, stride=stride, num_heads=2, descriptor_dim=24, dtype=jnp.bfloat16)
    images = [jax.ShapeDtypeStruct((2, size, columns, 3), jnp.uint8) for columns in (size, 2 * size)]
    variables = jax.eval_shape(lambda *images: model.init(jax.random.key(0), *images, train=False), *images)
    (loss, state), gradient = jax.eval_shape(functools.partial(_step, model), variables, *images)
    assert loss.shape == ()
    assert jax.tree.map(jnp.shape, {"params": gradient, **state}) == jax.tree.map(jnp.shape, variables)
    assert ("batch_stats" in variables) == registry.entry(name).normalises_by_batch

    rows, columns = towers.positions(name, stride, (size, 2 * size), final_pool=True)
    module = towers.tower(name, stride=stride, dtype=jnp.bfloat16)
    float_images = jax.ShapeDtypeStruct((2, size, 2 * size, 3), jnp.float32)
    maps = jax.eval_shape(lambda images: module.init_with_output(jax.random.key(0), images)[0], float_images)
    channels = module.channels[module.strides.index(stride)]
    assert maps[-1].shape == (2, size // stride, 2 * size // stride, channels)
    assert (rows, columns) == (-(-maps[-1].shape[1] // 2), -(-maps[-1].shape[2] // 2))
    encode = functools.partial(model.apply, view="ground", method="encode")
    embedding = jax.eval_shape(encode, variables, images[1]).embedding
    assert embedding.shape[1] == {"safa": 2 * channels, "fully_connected": 24}.get(aggregation, channels)
    if aggregation == "safa":
        assert variables["params"]["ground_aggregation"]["bias_out"].shape == (rows * columns, 2)


@pytest.mark.parametrize("name", [name for name in _FAMILIES if not name.startswith("vit")])
def test_nothing_is_made_behind_the_last_map(name):
    whole = registry.backbone(name)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)

    def shapes(module):
        maps, variables = jax.eval_shape(lambda image: module.init_with_output(jax.random.key(0), image), image)
        return jax.tree.map(jnp.shape, maps), traverse_util.flatten_dict(jax.tree.map(jnp.shape, variables))

    maps, variables = shapes(whole)
    counts = []
    for number in (1, 3):
        some_maps, some_variables = shapes(towers.tower(name, stride=whole.strides[number - 1], dtype=jnp.float32))
        assert some_maps == maps[:number]
        assert some_variables.items() <= variables.items()
        counts.append(len(some_variables))
    assert counts[0] < counts[1] < len(variables)
    assert towers.tower(name, dtype=jnp.float32).maps == len(whole.strides)


def test_weights_of_a_whole_backbone_fill_both_shorter_towers(mobilenet):
    _, variables, _, _ = mobilenet
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(registry.backbone("mobilenet_0.25").init, jax.random.key(0), image)
    rng = np.random.default_rng(0)
    weights = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    loaded = with_tower_weights(variables, weights)
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)
    for collection in ("params", "batch_stats"):
        for view in ("aerial_tower", "ground_tower"):
            tower = loaded[collection][view]
            assert "block_3_pointwise_norm" in tower
            assert "block_4_pointwise_norm" not in tower
            for module, arrays in tower.items():
                jax.tree.map(np.testing.assert_array_equal, arrays, weights[collection][module])


def test_what_a_backbone_does_not_have_is_refused():
    with pytest.raises(UserError, match=r"mobilenet_0\.5 has maps of strides 2, 4, 8, 16, 32, or 0"):
        towers.map_stride("mobilenet_0.5", 64)
    with pytest.raises(UserError, match=r"only VGG.*resnet50"):
        towers.tower("resnet50", width=0.5, dtype=jnp.float32)
    with pytest.raises(UserError, match=r"vit_small_14 divides.*multiples of 14 pixels, such as \(322, 644\)"):
        towers.positions("vit_small_14", 0, (320, 640))
    with pytest.raises(UserError, match=r"convnext_tiny.*multiples of 32"):
        towers.positions("convnext_tiny", 0, (80, 160))
    assert towers.positions("swin_tiny", 0, (80, 160)) == (3, 5)
    assert towers.positions("vgg16", 0, (320, 640), final_pool=True) == (10, 20)
    assert towers.positions("resnet50", 0, (320, 640), final_pool=True) == (10, 20)
