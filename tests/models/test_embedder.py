"""One kind of image to unit embeddings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vigor_jax.errors import UserError
from vigor_jax.models import VGG, Embedder
from vigor_jax.models.aggregations import aggregation
from vigor_jax.models.descriptor import Centring
from vigor_jax.models.embedder import with_tower_weights
from vigor_jax.models.towers import tower


class _Colours(nn.Module):
    """As little of a tower as compiles in no time: two maps, of which the last has half the rows and columns."""

    @nn.compact
    def __call__(self, images, *, train):
        fine = nn.relu(nn.Conv(6, (1, 1))(images))
        return fine, fine[:, ::2, ::2]


def _images(rows: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    # Each image of its own colour: averaged over an image, noise alone looks the same in all of them.
    return (rng.uniform(0, 256, (rows, 8, 12, 3)) * rng.uniform(size=(rows, 1, 1, 3))).astype(np.uint8)


def test_an_embedder_on_its_own_names_its_parts_itself():
    embedder = Embedder(_Colours(), aggregation("gem"), nn.Dense(5), Centring())
    embedding, variables = embedder.init_with_output(jax.random.key(0), _images(3))
    assert embedding.shape == (3, 5)
    shapes = jax.tree.map(jnp.shape, variables)
    assert shapes == {
        "params": {
            "tower": {"Conv_0": {"kernel": (1, 1, 3, 6), "bias": (6,)}},
            "aggregation": {"p": ()},
            "projection": {"kernel": (6, 5), "bias": (5,)},
        },
        "batch_stats": {"centring": {"mean": (5,), "count": ()}},
    }


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("pool", [False, True])
def test_the_last_map_is_aggregated_projected_and_normalised(pool, remat):
    embedder = Embedder(_Colours(), aggregation("average"), nn.Dense(5), preprocessing="tf", pool=pool, remat=remat)
    images = _images(4)
    embedding, variables = embedder.init_with_output(jax.random.key(0), images)
    params = jax.device_get(variables["params"])
    convolution = params["tower"]["Conv_0"]
    last = np.maximum((images[:, ::2, ::2] / 127.5 - 1) @ convolution["kernel"][0, 0] + convolution["bias"], 0)
    if pool:
        last = last.reshape(4, 2, 2, 3, 2, 6).max(axis=(2, 4))
    descriptor = last.mean(axis=(1, 2))
    np.testing.assert_allclose(embedder.apply(variables, images, method="describe"), descriptor, rtol=1e-4)
    projected = descriptor @ params["projection"]["kernel"] + params["projection"]["bias"]
    np.testing.assert_allclose(embedding, projected / np.linalg.norm(projected, axis=1, keepdims=True), rtol=1e-4)


def test_two_embedders_may_share_a_part():
    class Two(nn.Module):
        def setup(self):
            self.head = aggregation("fully_connected", descriptor_dim=4)
            self.one_tower, self.other_tower = _Colours(), _Colours()
            self.one, self.other = Embedder(self.one_tower, self.head), Embedder(self.other_tower, self.head)

        def __call__(self, images):
            return self.one(images), self.other(images)

    params = Two().init(jax.random.key(0), _images(1))["params"]
    assert set(params) == {"head", "one_tower", "other_tower"}
    first, second = (params[name]["Conv_0"]["kernel"] for name in ("one_tower", "other_tower"))
    assert not np.allclose(first, second)


def test_evaluation_does_not_look_at_the_other_images():
    embedder = Embedder(_Colours(), aggregation("average"), centring=Centring())
    variables = embedder.init(jax.random.key(0), _images(1))
    descriptors = np.random.default_rng(0).normal(loc=3.0, size=(4, 6)).astype(np.float32)
    trained, state = embedder.apply(variables, descriptors, method="embed", train=True, mutable=["batch_stats"])
    unit = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(trained, expected, atol=1e-5)
    # After one batch the running mean is that batch's; it then serves any other batch, of one image too.
    alone = embedder.apply({**variables, **state}, descriptors[:1], method="embed")
    np.testing.assert_allclose(alone[0], expected[0], atol=1e-5)


def test_every_tower_starts_from_given_weights_and_nothing_else_does():
    image = jnp.zeros((1, 32, 32, 3), jnp.uint8)
    embedder = Embedder(tower("vgg11", width=0.05, dtype=jnp.float32), aggregation("gem"))
    alone = jax.tree.map(lambda leaf: np.zeros(leaf.shape), jax.eval_shape(embedder.init, jax.random.key(0), image))
    vgg = jax.tree.map(lambda leaf: leaf + 1, alone["params"]["tower"])
    aggregation_of_two = {"p": np.float32(3)}
    two = {"params": {"aerial_tower": alone["params"]["tower"], "ground_tower": vgg, "head": aggregation_of_two}}
    for variables, towers in ((alone, ["tower"]), (two, ["aerial_tower", "ground_tower"])):
        loaded = with_tower_weights(variables, {"params": vgg})
        assert loaded["params"].keys() == variables["params"].keys()
        for name, module in loaded["params"].items():
            if name in towers:
                jax.tree.map(np.testing.assert_array_equal, module, vgg)
            else:
                assert module["p"] is variables["params"][name]["p"]


def test_weights_of_another_width_name_the_key():
    images, key = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.uint8), jax.random.key(0)
    embedder = Embedder(tower("vgg16", width=0.0625, dtype=jnp.float32), aggregation("average"))
    variables = jax.eval_shape(embedder.init, key, images)
    vgg = jax.eval_shape(VGG().init, key, jnp.zeros((1, 32, 32, 3)))
    with pytest.raises(UserError, match=r"conv1_1/\w+ has 64 channels there, 4 in .*config\.model\.width=1"):
        with_tower_weights(variables, vgg)
