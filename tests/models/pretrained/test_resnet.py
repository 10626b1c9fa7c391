"""ResNet with other libraries' weights gives their outputs, and gives the weights back."""

import jax
import numpy as np
import pytest

from tests.models.parity.fixture import assert_same_outputs, assert_same_state, load
from tests.models.parity.maps_and_logits import maps_and_logits
from vigor_jax.models.classifier import Classifier
from vigor_jax.models.mobilenet import MobileNet, MobileNetHead
from vigor_jax.models.pretrained import WeightFileError
from vigor_jax.models.pretrained.resnet import from_torch, layouts, to_torch
from vigor_jax.models.resnet import ResNet, ResNetHead


def _classifier(config: dict) -> Classifier:
    return Classifier(ResNet(tuple(config["depths"]), config["embedding_size"]), ResNetHead(), config["num_labels"])


@pytest.mark.parametrize("name", ["resnet_small", pytest.param("resnet50", marks=pytest.mark.long)])
def test_outputs_of_transformers(name):
    fixture = load(name)
    model = _classifier(fixture.config)
    variables = from_torch(fixture.state(), model)
    assert_same_state(to_torch(variables, model), fixture)
    assert_same_outputs(maps_and_logits(model, variables, fixture.image(), "stage"), fixture, tolerance=1e-5)


def test_names_of_torchvision():
    fixture = load("resnet_small")
    theirs = fixture.state()
    model = _classifier(fixture.config)
    variables = from_torch(theirs, model)
    state = to_torch(variables, model, "torchvision") | {"bn1.num_batches_tracked": np.zeros((), np.int64)}
    # Into the backbone alone, which has no logits.
    expected = {kind: variables[kind]["backbone"] for kind in ("params", "batch_stats")}
    assert jax.tree.all(jax.tree.map(np.array_equal, from_torch(state, model.backbone), expected))
    block = "resnet.encoder.stages.2.layers.0"
    for name, expected in {
        "conv1.weight": "resnet.embedder.embedder.convolution.weight",
        "bn1.running_var": "resnet.embedder.embedder.normalization.running_var",
        "layer3.0.conv2.weight": f"{block}.layer.1.convolution.weight",
        "layer3.0.bn3.bias": f"{block}.layer.2.normalization.bias",
        "layer3.0.downsample.0.weight": f"{block}.shortcut.convolution.weight",
        "layer3.0.downsample.1.running_mean": f"{block}.shortcut.normalization.running_mean",
        "fc.weight": "classifier.1.weight",
    }.items():
        np.testing.assert_array_equal(state[name], theirs[expected])
    assert not any(name.startswith("layer2.1.downsample") for name in state)


def test_another_depth_is_refused():
    fixture = load("resnet_small")
    model = _classifier(fixture.config | {"depths": [2, 2, 1]})
    with pytest.raises(WeightFileError, match=r"15 missing: resnet\.encoder\.stages\.0\.layers\.1\.layer\.0"):
        from_torch(fixture.state(), model)


def test_a_classifier_over_something_else():
    with pytest.raises(ValueError, match="over MobileNet, not over a ResNet"):
        layouts(Classifier(MobileNet(), MobileNetHead(), 10))
