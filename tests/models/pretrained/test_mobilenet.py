"""MobileNet with other frameworks' weights gives their outputs, and gives the weights back."""

import functools

import jax
import numpy as np
import pytest

from tests.models.parity.fixture import assert_same_outputs, assert_same_state, load
from vigor_jax.models.classifier import Classifier
from vigor_jax.models.mobilenet import MobileNet, MobileNetHead
from vigor_jax.models.pretrained import WeightFileError
from vigor_jax.models.pretrained.conversion import variable_shapes
from vigor_jax.models.pretrained.mobilenet import from_keras, from_torch, keras_table, to_keras, to_torch


def _classifier(width: float, classes: int) -> Classifier:
    return Classifier(MobileNet(width=width), MobileNetHead(), classes)


@pytest.mark.parametrize("name", ["mobilenet_0.25", "mobilenet_1.0"])
def test_outputs_of_transformers(name):
    fixture = load(name)
    state = fixture.state()
    model = _classifier(fixture.config["depth_multiplier"], fixture.config["num_labels"])
    variables = from_torch(state, model)
    assert_same_state(to_torch(variables, model), fixture)
    apply = functools.partial(
        model.apply, capture_intermediates=lambda module, _: module.name == "backbone", mutable=["intermediates"]
    )
    logits, captured = jax.jit(apply)(variables, fixture.image())
    (maps,) = captured["intermediates"]["backbone"]["__call__"]
    outputs = {f"map_{i}": one for i, one in enumerate(maps)}
    assert_same_outputs(outputs | {"logits": logits}, fixture, tolerance=1e-5)
    # The same file into the backbone alone.
    body = {kind: variables[kind]["backbone"] for kind in ("params", "batch_stats")}
    assert jax.tree.all(jax.tree.map(np.array_equal, from_torch(state, model.backbone), body))


def test_keras_names_and_layouts():
    model = _classifier(0.25, 5)
    shapes = variable_shapes(model, (1, 32, 32, 3))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32), shapes)
    state = to_keras(variables, model)
    assert state["conv1/kernel"].shape == (3, 3, 3, 8)
    assert state["conv_dw_13/depthwise_kernel"].shape == (3, 3, 256, 1)
    assert state["conv_pw_13/kernel"].shape == (1, 1, 256, 256)
    assert state["conv_preds/kernel"].shape == (1, 1, 256, 5)
    assert len(state) == 27 * 5 + 2
    assert jax.tree.all(jax.tree.map(np.array_equal, from_keras(state, model), variables))
    body = from_keras(state, model.backbone)
    np.testing.assert_array_equal(
        body["params"]["block_2_depthwise"]["kernel"][1, 2, 0], state["conv_dw_2/depthwise_kernel"][1, 2, :, 0]
    )


def test_another_width_is_named():
    state = to_torch(_zeros(MobileNet(width=0.25)), MobileNet(width=0.25))
    with pytest.raises(
        WeightFileError, match=r"other\.safetensors .*convolution\.weight is \[8, 3, 3, 3\], expected \[16"
    ):
        from_torch(state, MobileNet(width=0.5), source="other.safetensors")


@pytest.mark.parametrize("kind", [{"separable": False}, {"shallow": True}])
def test_kinds_without_published_weights(kind):
    with pytest.raises(ValueError, match="no published weights"):
        keras_table(MobileNet(**kind))


def _zeros(module: MobileNet) -> dict:
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variable_shapes(module, (1, 32, 32, 3)))
