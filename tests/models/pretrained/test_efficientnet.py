"""EfficientNet with other libraries' weights gives their outputs, and gives the weights back."""

import jax
import numpy as np
import pytest

from tests.models.parity.fixture import assert_same_outputs, assert_same_state, load
from tests.models.parity.maps_and_logits import maps_and_logits
from vigor_jax.models.classifier import Classifier
from vigor_jax.models.efficientnet import EfficientNet, EfficientNetHead
from vigor_jax.models.mobilenet import MobileNet, MobileNetHead
from vigor_jax.models.pretrained import WeightFileError
from vigor_jax.models.pretrained.efficientnet import from_torch, layouts, to_torch


def _classifier(config: dict, library: str = "transformers") -> Classifier:
    width = config["width_coefficient"]
    kind = {"padding": "symmetric", "epsilon": 1e-5} if library == "torchvision" else {}
    backbone = EfficientNet(width, config["depth_coefficient"], **kind)
    head = EfficientNetHead(width, epsilon=backbone.epsilon)
    return Classifier(backbone, head, config["num_labels"])


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("efficientnet_small", "transformers"),
        ("efficientnet_timm", "timm"),
        ("efficientnet_torchvision", "torchvision"),
        pytest.param("efficientnet_b0", "transformers", marks=pytest.mark.long),
    ],
)
def test_outputs_of_other_libraries(name, library):
    fixture = load(name)
    model = _classifier(fixture.config, library)
    state = fixture.state()
    variables = from_torch(state, model)
    assert_same_state(to_torch(variables, model, library), fixture)
    assert_same_outputs(maps_and_logits(model, variables, fixture.image(), "map"), fixture, tolerance=1e-5)
    if library == "timm":  # the same file into the backbone alone
        body = {kind: variables[kind]["backbone"] for kind in ("params", "batch_stats")}
        assert jax.tree.all(jax.tree.map(np.array_equal, from_torch(state, model.backbone), body))


@pytest.mark.parametrize(("name", "library"), [("efficientnet_small", "torchvision"), ("efficientnet_torchvision", "")])
def test_weights_of_the_other_padding_are_refused(name, library):
    fixture = load(name)
    wanted = r"epsilon=1e-5 \(B0 to B4\) or 1e-3" if library != "torchvision" else "epsilon=1e-3"
    with pytest.raises(WeightFileError, match=rf"file\.safetensors.* were trained with padding.*{wanted}"):
        from_torch(fixture.state(), _classifier(fixture.config, library), source="file.safetensors")


def test_another_depth_is_refused():
    fixture = load("efficientnet_timm")
    with pytest.raises(WeightFileError, match=r"unexpected: blocks\.5\.1\.conv_pw\.weight"):
        from_torch(fixture.state(), _classifier(fixture.config | {"depth_coefficient": 0.2}))


def test_a_classifier_over_something_else():
    with pytest.raises(ValueError, match="over MobileNet, not over an EfficientNet"):
        layouts(Classifier(MobileNet(), MobileNetHead(), 10))
