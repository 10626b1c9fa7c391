"""Every registered backbone keeps the contract, by its shapes alone."""

import jax
import jax.numpy as jnp
import pytest
from flax import traverse_util

from vigor_jax.models import registry
from vigor_jax.models.classifier import classifier
from vigor_jax.models.depthwise_filters import is_depthwise_filter

# One of each family, the first: the others are the same code.
_FAMILIES = {getattr(entry.make, "func", entry.make): name for name, entry in reversed(registry.BACKBONES.items())}


@pytest.mark.parametrize("name", tuple(_FAMILIES.values())[::-1])
def test_maps_are_as_the_module_says(name):
    entry = registry.entry(name)
    module = entry.make(dtype=jnp.bfloat16)
    images = jax.ShapeDtypeStruct((2, entry.image_size, entry.image_size, 3), jnp.float32)
    maps, variables = jax.eval_shape(lambda images: module.init_with_output(jax.random.key(0), images), images)
    assert [one.shape[-1] for one in maps] == list(module.channels)
    assert [entry.image_size // one.shape[1] for one in maps] == list(module.strides)
    assert {one.dtype for one in maps} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    # The name of a parameter tells what its shape tells.
    for path, leaf in traverse_util.flatten_dict(variables["params"]).items():
        depthwise = path[-1] == "kernel" and len(leaf.shape) == 4 and leaf.shape[2] == 1
        assert is_depthwise_filter(path) == depthwise, path


def test_unknown_name_has_its_neighbours():
    with pytest.raises(
        registry.UnknownBackboneError, match=r"no backbone 'mobilenet_10'\. Did you mean mobilenet_1\.0"
    ):
        registry.backbone("mobilenet_10")
    with pytest.raises(registry.UnknownBackboneError, match=r"Known: mobilenet_1\.0, "):
        classifier("zzzz", 10)


def test_batch_normalisation_takes_the_axis_and_the_momentum():
    for name, entry in registry.BACKBONES.items():
        options = {
            "dtype": jnp.bfloat16,
            "axis_name": "data",
            "norm_momentum": 0.5 if entry.normalises_by_batch else None,
        }
        module, head = registry.trainable(name, **options), registry.trainable_head(name, **options)
        assert module.dtype == jnp.bfloat16
        assert entry.normalises_by_batch == name.startswith(("mobilenet", "resnet", "efficientnet"))
        for one in (module, head):
            if hasattr(one, "axis_name"):
                assert (one.axis_name, one.momentum) == ("data", 0.5)
    assert registry.trainable_head("efficientnet_b0", dtype=jnp.float32, axis_name="data").axis_name == "data"
    with pytest.raises(registry.NoBatchNormalisationError, match=r"convnext_tiny has no batch normalisation.*0\.9"):
        registry.trainable("convnext_tiny", dtype=jnp.float32, axis_name=None, norm_momentum=0.9)


def test_what_normalises_by_the_batch_has_statistics():
    for name in _FAMILIES.values():
        entry = registry.entry(name)
        images = jax.ShapeDtypeStruct((1, entry.image_size, entry.image_size, 3), jnp.float32)
        variables = jax.eval_shape(entry.make().init, jax.random.key(0), images)
        assert entry.normalises_by_batch == ("batch_stats" in variables), name
