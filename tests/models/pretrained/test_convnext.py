"""ConvNeXt with other libraries' weights gives their outputs, and gives the weights back."""

import jax
import numpy as np
import pytest

from tests.models.parity.fixture import assert_same_outputs, assert_same_state, load
from tests.models.parity.maps_and_logits import maps_and_logits
from vigor_jax.models.classifier import Classifier
from vigor_jax.models.convnext import ConvNeXt, ConvNeXtHead
from vigor_jax.models.mobilenet import MobileNet, MobileNetHead
from vigor_jax.models.pretrained import WeightFileError
from vigor_jax.models.pretrained.convnext import from_torch, layouts, to_torch


def _classifier(config: dict) -> Classifier:
    backbone = ConvNeXt(tuple(config["depths"]), tuple(config["hidden_sizes"]))
    return Classifier(backbone, ConvNeXtHead(), config["num_labels"])


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("convnext_small", "transformers"),
        ("convnext_timm", "timm"),
        ("convnext_torchvision", "torchvision"),
        pytest.param("convnext_tiny", "transformers", marks=pytest.mark.long),
    ],
)
def test_outputs_of_other_libraries(name, library):
    fixture = load(name)
    model = _classifier(fixture.config)
    variables = from_torch(fixture.state(), model)
    assert_same_state(to_torch(variables, model, library), fixture)
    assert_same_outputs(maps_and_logits(model, variables, fixture.image(), "stage"), fixture, tolerance=1e-5)


def test_names_of_the_authors():
    fixture = load("convnext_small")
    theirs = fixture.state()
    model = _classifier(fixture.config)
    variables = from_torch(theirs, model)
    state = to_torch(variables, model, "authors")
    assert len(state) == len(theirs)
    body = from_torch(state, model.backbone)["params"]  # without norm and logits
    assert jax.tree.all(jax.tree.map(np.array_equal, body, variables["params"]["backbone"]))
    for name, expected in {
        "downsample_layers.0.0.weight": "convnext.embeddings.patch_embeddings.weight",
        "downsample_layers.0.1.bias": "convnext.embeddings.layernorm.bias",
        "downsample_layers.2.0.weight": "convnext.encoder.stages.2.downsampling_layer.0.weight",
        "downsample_layers.2.1.weight": "convnext.encoder.stages.2.downsampling_layer.1.weight",
        "stages.2.1.dwconv.weight": "convnext.encoder.stages.2.layers.1.dwconv.weight",
        "stages.2.1.norm.bias": "convnext.encoder.stages.2.layers.1.layernorm.bias",
        "stages.2.1.pwconv2.weight": "convnext.encoder.stages.2.layers.1.pwconv2.weight",
        "stages.2.1.gamma": "convnext.encoder.stages.2.layers.1.layer_scale_parameter",
        "norm.weight": "convnext.layernorm.weight",
        "head.weight": "classifier.weight",
    }.items():
        np.testing.assert_array_equal(state[name], theirs[expected])


def test_another_width_is_refused():
    fixture = load("convnext_small")
    model = _classifier(fixture.config | {"hidden_sizes": [8, 12, 16, 32]})
    with pytest.raises(WeightFileError, match=r"downsampling_layer\.1\.weight is \[24, 16, 2, 2\], expected \[32, 16"):
        from_torch(fixture.state(), model)


def test_a_classifier_over_something_else():
    with pytest.raises(ValueError, match="over MobileNet, not over a ConvNeXt"):
        layouts(Classifier(MobileNet(), MobileNetHead(), 10))
