"""Two towers, one space."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from vigor_jax.losses import soft_margin_triplet
from vigor_jax.models import CrossViewModel
from vigor_jax.models.offset_head import OffsetHead

_MODELS = {
    "safa": {"aggregation": "safa", "num_heads": 3},
    "safa_unpooled": {"aggregation": "safa", "num_heads": 2, "final_pool": False, "centre_descriptor": True},
    "fully_connected": {"aggregation": "fully_connected", "descriptor_dim": 24, "dropout": 0.0},
}


def _images(rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    noise = [rng.uniform(0, 256, (rows, 48, width, 3)) for width in (48, 80)]
    # Each image of its own colour: averaged over an image, noise alone looks the same in all of them.
    return tuple((n * rng.uniform(size=(rows, 1, 1, 3))).astype(np.uint8) for n in noise)


def _init(name: str, **changes: object) -> tuple[CrossViewModel, dict]:
    """A model and random variables, without the compilation of an initialisation."""
    model = CrossViewModel(**{"width": 0.0625, **_MODELS[name], **changes})
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda: model.init({"params": key, "dropout": key}, *_images(1), train=True))
    rng = np.random.default_rng(1)

    def fill(path, leaf):
        if path[0].key == "batch_stats":
            return np.zeros(leaf.shape, np.float32)
        if path[-1].key.startswith("bias"):
            return (rng.normal(size=leaf.shape) * 0.1).astype(leaf.dtype)
        fan_in = leaf.shape[0] if len(leaf.shape) == 3 else np.prod(leaf.shape[:-1])  # SAFA's kernels end in heads
        return (rng.normal(size=leaf.shape) * np.sqrt(2 / fan_in)).astype(leaf.dtype)

    return model, jax.tree.map_with_path(fill, shapes)


@pytest.mark.parametrize(("name", "dim"), [("safa", 96), ("fully_connected", 24)])
def test_unit_float32_embeddings_one_by_one_or_together(name, dim):
    model, variables = _init(name, dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}
    aerial, ground = _images(3)

    @jax.jit
    def run():
        pair = model.apply(variables, aerial, ground, train=False)
        views = (("aerial", aerial), ("ground", ground))
        encoded = [model.apply(variables, images, view, method="encode").embedding for view, images in views]
        described = [model.apply(variables, images, view, method="describe") for view, images in views]
        return pair[:2], encoded, described

    for embedding, encoded, descriptor in zip(*run(), strict=True):
        assert embedding.shape == (3, dim)
        assert embedding.dtype == descriptor.dtype == jnp.float32
        np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(encoded, embedding)
        length = np.linalg.norm(descriptor, axis=1, keepdims=True)
        assert abs(length - 1).max() > 0.1  # not normalised
        np.testing.assert_allclose(embedding, descriptor / length, atol=1e-6)
        assert embedding.std(axis=0).max() > 1e-3  # the images differ


def test_towers_are_not_shared_and_the_fully_connected_head_is():
    _, safa = _init("safa")
    assert set(safa["params"]) == {"aerial_tower", "ground_tower", "aerial_aggregation", "ground_aggregation"}
    assert safa["params"]["aerial_aggregation"]["kernel_in"].shape == (4, 2, 3)  # 48 px: 3x3, pooled to 2x2
    assert safa["params"]["ground_aggregation"]["kernel_in"].shape == (6, 3, 3)  # 48x80 px: 3x5, pooled to 2x3
    towers = [safa["params"][tower]["conv1_1"]["kernel"] for tower in ("aerial_tower", "ground_tower")]
    assert not np.allclose(*towers)
    _, siamese = _init("fully_connected")
    assert set(siamese["params"]) == {"aerial_tower", "ground_tower", "shared_aggregation"}
    _, unpooled = _init("safa_unpooled")
    assert unpooled["params"]["aerial_aggregation"]["kernel_in"].shape == (9, 4, 2)
    assert unpooled["params"]["ground_aggregation"]["kernel_in"].shape == (15, 7, 2)


_STORED = {
    "safa": {"num_heads": 2, "centre_descriptor": True, "final_pool": False, "offset_outputs": 2},
    "fully_connected": {"descriptor_dim": 16, "offset_outputs": 100},
    "gem": {"projection_dim": 7, "centre_descriptor": True},
    "average": {"backbone": "mobilenet_0.25", "width": 1.0, "stride": 4},
}


@pytest.mark.parametrize("aggregation", _STORED)
def test_parameters_have_the_paths_that_stored_checkpoints_have(aggregation):
    """`parameters.txt` is what the model had before it was made of embedders: another path, and no run restores."""
    golden = (Path(__file__).parent / "parameters.txt").read_text()
    _, _, section = golden.partition(f"[{aggregation}]\n")
    model = CrossViewModel(aggregation, **{"backbone": "vgg11", "width": 0.05, **_STORED[aggregation]})
    images = [np.zeros((1, 64, width, 3), np.uint8) for width in (64, 128)]
    variables = jax.eval_shape(lambda key: model.init(key, *images, train=False), jax.random.key(0))
    found = {path: leaf.shape for path, leaf in traverse_util.flatten_dict(variables, sep="/").items()}
    assert [f"{path} {found[path]}" for path in sorted(found)] == section.partition("\n\n")[0].strip().splitlines()


def test_published_sizes():
    """320x320 and 320x640: 10x10 and 10x20 positions, 4096 dimensions."""
    model = CrossViewModel(aggregation="safa")
    aerial, ground = jnp.zeros((1, 320, 320, 3), jnp.uint8), jnp.zeros((1, 320, 640, 3), jnp.uint8)
    embeddings, variables = jax.eval_shape(
        lambda key: model.init_with_output(key, aerial, ground, train=False), jax.random.key(0)
    )
    assert [e.shape for e in embeddings[:2]] == [(1, 4096)] * 2
    assert embeddings[2:] == (None, None)
    assert variables["params"]["aerial_aggregation"]["kernel_in"].shape == (100, 50, 8)
    assert variables["params"]["ground_aggregation"]["kernel_in"].shape == (200, 100, 8)


# SAFA's quick form is the whole task's: tests/tasks/test_cross_view.py.
@pytest.mark.parametrize("name", [pytest.param("safa_unpooled", marks=pytest.mark.long), "fully_connected"])
def test_loss_gradient_and_statistics_on_devices_are_those_of_one(name):
    model, variables = _init(name)
    aerial, ground = _images(8)

    def step(params, aerial, ground, axis_name=None):
        def loss(params):
            embeddings, state = model.clone(axis_name=axis_name).apply(
                {**variables, "params": params},
                aerial,
                ground,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(0)},
            )
            return soft_margin_triplet(*embeddings[:2], axis_name=axis_name), state

        return jax.value_and_grad(loss, has_aux=True)(params)

    (loss, state), gradients = jax.jit(step)(variables["params"], aerial, ground)
    mesh = jax.make_mesh((4,), ("data",), devices=jax.devices()[:4])
    rows, everywhere = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    mapped = jax.shard_map(
        lambda params, aerial, ground: step(params, aerial, ground, "data"),
        mesh=mesh,
        in_specs=(P(), P("data"), P("data")),
        out_specs=P(),
    )
    (mapped_loss, mapped_state), mapped_gradients = jax.jit(mapped)(
        jax.device_put(variables["params"], everywhere), jax.device_put(aerial, rows), jax.device_put(ground, rows)
    )
    np.testing.assert_allclose(mapped_loss, loss, rtol=1e-5)
    for (path, expected), found in zip(
        jax.tree.leaves_with_path((state, gradients)), jax.tree.leaves((mapped_state, mapped_gradients)), strict=True
    ):
        difference, length = np.linalg.norm(found - expected), np.linalg.norm(expected)
        assert length > 0, path
        assert difference < 1e-3 * length, (path, difference / length)


@pytest.mark.parametrize(("centred", "outputs"), [(True, 2), (False, 100)])
def test_semi_positives_share_the_aerial_tower_and_the_head_reads_the_descriptors(centred, outputs):
    model, variables = _init("safa_unpooled", offset_outputs=outputs, centre_descriptor=centred)
    aerial, ground = _images(4)
    tiles = {"aerial": aerial[:2], "semi_positive": aerial[2:]}

    @jax.jit
    def run():
        pairs, state = model.apply(
            variables, tiles["aerial"], ground[:2], tiles["semi_positive"], train=True, mutable=["batch_stats"]
        )
        described = {
            name: model.apply(variables, images, "aerial", method="describe") for name, images in tiles.items()
        }
        described["ground"] = model.apply(variables, ground[:2], "ground", method="describe")
        return pairs, state, described

    pairs, state, described = jax.device_get(run())
    expected = np.concatenate([described["aerial"], described["semi_positive"]])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    if centred:
        # By the mean of all tiles of the batch, the semi-positive ones too.
        mean = expected.mean(axis=0)
        np.testing.assert_allclose(state["batch_stats"]["aerial_centring"]["mean"], mean, atol=1e-6)
        expected -= mean
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(np.concatenate([pairs.aerial, pairs.semi_positive]), expected, atol=1e-5)
    head = {"params": variables["params"]["offset_head"]}
    read = (pairs.aerial * 8, pairs.ground * 8) if centred else (described["aerial"], described["ground"])
    offset = OffsetHead(outputs).apply(head, *read)
    assert offset.shape == (2, outputs)
    np.testing.assert_allclose(pairs.offset, offset, rtol=1e-5, atol=1e-6 * float(abs(offset).max()))


def test_a_panorama_is_placed_on_any_tile_without_its_image():
    model, variables = _init("safa", offset_outputs=2)
    aerial, ground = _images(3)

    @jax.jit
    def run():
        tiles = model.apply(variables, aerial, "aerial", method="encode")
        panoramas = model.apply(variables, ground, "ground", method="encode")
        swapped = model.apply(variables, tiles.offset_features[::-1], panoramas.offset_features, method="offset")
        return tiles, panoramas, swapped, model.apply(variables, aerial[::-1], ground, train=False)

    tiles, panoramas, swapped, expected = run()
    np.testing.assert_allclose(swapped, expected.offset, rtol=1e-5)
    np.testing.assert_array_equal(tiles.embedding[::-1], expected.aerial)
    np.testing.assert_array_equal(panoramas.embedding, expected.ground)
    plain, without_head = _init("safa")
    encoded = jax.eval_shape(lambda: plain.apply(without_head, aerial, "aerial", method="encode"))
    assert encoded.offset_features.shape == (3, 0)
