"""VGG with other libraries' weights gives their outputs, and gives the weights back."""

import functools
from typing import Any

import jax
import numpy as np
import pytest

from tests.models.parity.fixture import Fixture, assert_same_outputs, assert_same_state, load
from tests.models.parity.maps_and_logits import maps_and_logits
from vigor_jax.models.classifier import Classifier
from vigor_jax.models.mobilenet import MobileNet, MobileNetHead
from vigor_jax.models.pretrained import WeightFileError
from vigor_jax.models.pretrained.vgg import from_arrays, layouts, matched, to_arrays
from vigor_jax.models.vgg import VGG, VGGHead

_WIDTH = 1 / 16


@functools.cache
def _loaded(name: str) -> tuple[Fixture, Classifier, dict[str, Any]]:
    """What is stored, a classifier of that configuration, and its variables."""
    fixture = load(name)
    config = fixture.config
    head = VGGHead(config["positions"], width=_WIDTH)
    model = Classifier(VGG(config["configuration"], width=_WIDTH), head, config["classes"])
    return fixture, model, from_arrays(fixture.state(), model)


def _equal(ours: Any, expected: Any) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, ours, expected))


@pytest.mark.parametrize("name", ["vgg_a", "vgg_a_lrn", "vgg_b", "vgg_c", "vgg_d", "vgg_e"])
def test_outputs_of_torch(name):
    fixture, model, variables = _loaded(name)
    assert_same_state(to_arrays(variables, model), fixture)
    outputs = maps_and_logits(model, variables, fixture.image(), "map")
    assert_same_outputs({key: outputs[key] for key in fixture.outlines}, fixture, tolerance=1e-5)
    assert _equal(
        from_arrays(fixture.state(), model.backbone), {"params": variables["params"]["backbone"]}
    )  # without the fully connected layers


@pytest.mark.parametrize(
    ("library", "preprocessing"),
    [
        ("torchvision", "torchvision"),
        ("timm", "torchvision"),
        ("keras", "keras"),
        ("keras_1", "keras"),
        ("caffe", "vigor"),
    ],
)
def test_every_library_both_ways(library, preprocessing):
    _, model, variables = _loaded("vgg_d")
    state = to_arrays(variables, model, library)
    file = matched(state, model)
    assert file.preprocessing == preprocessing
    assert _equal(file.load()[0], variables)
    assert _equal(from_arrays(state, model.backbone), {"params": variables["params"]["backbone"]})


def test_first_fully_connected_layer_is_flattened_as_its_library_does():
    _, model, variables = _loaded("vgg_d")
    params = variables["params"]
    features = np.random.default_rng(0).normal(size=(2, 2, 32)).astype(np.float32)  # of one window
    expected = np.einsum("hwc,hwcf->f", features, params["head"]["fc6"]["kernel"])
    torch, keras = (to_arrays(variables, model, library) for library in ("torchvision", "keras"))
    np.testing.assert_allclose(torch["classifier.0.weight"] @ features.transpose(2, 0, 1).ravel(), expected, rtol=1e-4)
    np.testing.assert_allclose(features.ravel() @ keras["fc1/kernel"], expected, rtol=1e-4)
    np.testing.assert_array_equal(keras["block5_conv3/kernel"], params["backbone"]["conv5_3"]["kernel"])
    np.testing.assert_array_equal(keras["predictions/bias"], params["logits"]["bias"])
    assert to_arrays(variables, model, "timm")["pre_logits.fc2.weight"].shape == (256, 256, 1, 1)


def test_names_of_published_files():
    """Written out: VGG-19 counts to features.34, and the files of Keras 1 repeat the layer's name."""
    files = layouts(Classifier(VGG("E"), VGGHead(), 1000))
    names = {
        library: [name for one in layout.of_classifier("") for name in one.theirs] for library, layout in files.items()
    }
    assert {library: len(of) for library, of in names.items()} == dict.fromkeys(names, 38)
    assert names["torchvision"][30:33] == ["features.34.weight", "features.34.bias", "classifier.0.weight"]
    assert names["torchvision"][-1] == "classifier.6.bias"
    assert {"block5_conv4/kernel", "fc1/bias", "predictions/kernel"} <= set(names["keras"])
    assert {"block5_conv4/block5_conv4_W_1", "predictions/predictions_b_1"} <= set(names["keras_1"])
    assert {"conv5_4/kernel", "fc8/bias"} <= set(names["caffe"])


def test_another_configuration_is_refused():
    _, _, variables = _loaded("vgg_d")
    model = Classifier(VGG("C", width=_WIDTH), VGGHead(2, width=_WIDTH), 5)
    state = to_arrays(variables, _loaded("vgg_d")[1])
    with pytest.raises(
        WeightFileError, match=r"3 of another shape: features\.14\.weight is \[16, 16, 3, 3\], expected \[16"
    ):
        from_arrays(state, model)
    with pytest.raises(WeightFileError, match=r"12 unexpected: .* features\.17\.weight is \[32, 16, 3, 3\], expected"):
        from_arrays(state, Classifier(VGG("B", width=_WIDTH), VGGHead(2, width=_WIDTH), 5))


def test_another_image_size_is_refused_and_the_rest_can_be_had():
    _, model, variables = _loaded("vgg_d")
    state = to_arrays(variables, model)
    larger = Classifier(model.backbone, VGGHead(3, width=_WIDTH), 5)
    with pytest.raises(
        WeightFileError, match=r"1 of another shape: classifier\.0\.weight is \[256, 128\], expected \[256, 288\]"
    ):
        from_arrays(state, larger)
    partial = from_arrays(state, larger, allow_partial=True)
    assert set(partial["params"]["head"]["fc6"]) == {"bias"}
    assert _equal(partial["params"]["backbone"], variables["params"]["backbone"])


def test_what_is_no_vgg():
    with pytest.raises(ValueError, match="over MobileNet, not over a VGG"):
        layouts(Classifier(MobileNet(), MobileNetHead(), 10))
    with pytest.raises(ValueError, match="a VGG and MobileNetHead"):
        layouts(Classifier(VGG(), MobileNetHead(), 10))
