"""Swin with other libraries' weights gives their outputs, and gives the weights back."""

from typing import Any

import jax
import numpy as np
import pytest

from tests.models.parity.fixture import Fixture, assert_same_outputs, assert_same_state, load
from vigor_jax.models.classifier import Classifier
from vigor_jax.models.pretrained import WeightFileError
from vigor_jax.models.pretrained.swin import from_torch, layouts, to_torch
from vigor_jax.models.swin import Swin, SwinHead
from vigor_jax.models.vit import ViT, ViTHead


def _classifier(config: dict) -> Classifier:
    depths, heads = tuple(config["depths"]), tuple(config["num_heads"])
    swin = Swin(config["embed_dim"], depths, heads, config["window_size"])
    return Classifier(swin, SwinHead(), config["num_labels"])


@pytest.fixture(scope="module")
def fixture() -> Fixture:
    return load("swin_small")


@pytest.fixture(scope="module")
def model(fixture) -> Classifier:
    return _classifier(fixture.config)


@pytest.fixture(scope="module")
def variables(fixture, model) -> dict[str, Any]:
    return from_torch(fixture.state(), model)


def _equal(ours: Any, expected: Any) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, ours, expected))


def test_outputs_of_transformers(fixture, model, variables):
    def run(images):
        return model.apply(variables, images, capture_intermediates=lambda one, _: isinstance(one, Swin))

    logits, captured = jax.jit(run)(fixture.image())
    (maps,) = captured["intermediates"]["backbone"]["__call__"]
    outputs = {f"stage{i}": one for i, one in enumerate(maps, 1)} | {"logits": logits}
    assert_same_outputs(outputs, fixture, tolerance=1e-5)


def test_every_library_both_ways(fixture, model, variables):
    assert_same_state(to_torch(variables, model), fixture)
    for library in layouts(model):
        state = to_torch(variables, model, library)
        state["layers.0.blocks.1.attn_mask"] = np.zeros((4, 16, 16))  # where the authors keep it
        if library in ("transformers", "timm"):  # and without head and logits
            body = from_torch(state, model.backbone)
            assert _equal(body["params"], variables["params"]["backbone"]), library
        else:
            assert _equal(from_torch(state, model), variables), library


def test_names_of_other_libraries(fixture, model, variables):
    theirs = fixture.state()
    attention = "swin.encoder.layers.1.blocks.1.attention.self."
    fused = np.concatenate([theirs[f"{attention}{part}.weight"] for part in ("query", "key", "value")])
    reduction = theirs["swin.encoder.layers.0.downsample.reduction.weight"]
    for library, names in {
        "timm": ("layers.1.blocks.1.attn.qkv.weight", "layers.1.downsample.reduction.weight", "head.fc.bias"),
        "authors": ("layers.1.blocks.1.attn.qkv.weight", "layers.0.downsample.reduction.weight", "head.bias"),
        "torchvision": ("features.3.1.attn.qkv.weight", "features.2.reduction.weight", "head.bias"),
    }.items():
        state = to_torch(variables, model, library)
        for name, expected in zip(names, (fused, reduction, theirs["classifier.bias"]), strict=True):
            np.testing.assert_array_equal(state[name], expected)


def test_backbone_file_fills_a_classifier_in_part(fixture, model):
    state = {name.removeprefix("swin."): array for name, array in fixture.state().items() if "classifier" not in name}
    with pytest.raises(WeightFileError, match=r"2 missing: classifier\.weight, classifier\.bias"):
        from_torch(state, model)
    assert set(from_torch(state, model, allow_partial=True)["params"]) == {"backbone", "head"}


def test_another_window_is_refused(fixture):
    with pytest.raises(WeightFileError, match=r"6 of another shape.*bias_table is \[25, 2\], expected \[9, 2\]"):
        from_torch(fixture.state(), _classifier(fixture.config | {"window_size": 2}))


def test_a_classifier_over_something_else():
    with pytest.raises(ValueError, match="over ViT, not over a Swin"):
        layouts(Classifier(ViT(), ViTHead(), 10))
