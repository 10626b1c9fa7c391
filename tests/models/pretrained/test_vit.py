"""ViT with other libraries' weights gives their outputs, and gives the weights back."""

import functools
from typing import Any

import jax
import numpy as np
import pytest

from tests.models.parity.fixture import Fixture, assert_same_outputs, assert_same_state, load
from vigor_jax.models.classifier import Classifier
from vigor_jax.models.pretrained import WeightFileError
from vigor_jax.models.pretrained.vit import from_torch, layouts, to_torch
from vigor_jax.models.swin import Swin, SwinHead
from vigor_jax.models.vit import ViT, ViTHead

_LIBRARIES = {
    "dinov2_small": {"transformers", "timm", "authors"},
    "dinov2_registers": {"transformers", "authors"},
    "vit_plain": {"transformers", "timm", "authors", "torchvision"},
}


@functools.cache
def _loaded(name: str) -> tuple[Fixture, Classifier, dict[str, Any]]:
    """What is stored, a classifier of that configuration, and its variables."""
    fixture = load(name)
    config = fixture.config
    plain = "intermediate_size" in config
    vit = ViT(
        patch=config["patch_size"],
        width=config["hidden_size"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        positions=config["image_size"] // config["patch_size"],
        layer_scale=not plain,
        gated=config.get("use_swiglu_ffn", False),
        registers=config.get("num_register_tokens", 0),
    )
    model = Classifier(vit, ViTHead(patch_mean=not plain), config["num_labels"])
    return fixture, model, from_torch(fixture.state(), model)


def _equal(ours: Any, expected: Any) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, ours, expected))


@pytest.mark.parametrize("name", _LIBRARIES)
def test_outputs_of_transformers(name):
    fixture, model, variables = _loaded(name)

    def run(images):
        return model.apply(variables, images, capture_intermediates=lambda _, method: method == "tokens")

    logits, captured = jax.jit(run)(fixture.image())
    ((class_token, patches),) = captured["intermediates"]["backbone"]["tokens"]
    outputs = {"class_token": class_token, "patches": patches, "logits": logits}
    assert_same_outputs(outputs, fixture, tolerance=1e-5)


@pytest.mark.parametrize("name", _LIBRARIES)
def test_every_library_both_ways(name):
    fixture, model, variables = _loaded(name)
    assert_same_state(to_torch(variables, model), fixture)
    assert set(layouts(model)) == _LIBRARIES[name]
    for library in layouts(model):
        state = to_torch(variables, model, library) | {"mask_token": np.zeros((1, 24))}
        if library in ("transformers", "timm"):  # and without the logits
            body = from_torch(state, model.backbone)
            assert _equal(body["params"], variables["params"]["backbone"]), library
        else:
            assert _equal(from_torch(state, model), variables), library


def test_names_of_other_libraries():
    fixture, model, variables = _loaded("dinov2_registers")
    theirs, block = fixture.state(), "dinov2_with_registers.encoder.layer.1."
    parts = ("query", "key", "value")
    fused = np.concatenate([theirs[f"{block}attention.attention.{part}.bias"] for part in parts])
    state = to_torch({"params": variables["params"]["backbone"]}, model.backbone, "authors")
    np.testing.assert_array_equal(state["blocks.1.attn.qkv.bias"], fused)
    np.testing.assert_array_equal(state["blocks.1.mlp.w12.weight"], theirs[f"{block}mlp.weights_in.weight"])
    np.testing.assert_array_equal(state["blocks.1.ls2.gamma"], theirs[f"{block}layer_scale2.lambda1"])
    np.testing.assert_array_equal(state["register_tokens"], theirs["dinov2_with_registers.embeddings.register_tokens"])
    giant = {name for one in layouts(ViT(depth=2, gated=True))["timm"].backbone for name in one.theirs}
    assert {"blocks.1.mlp.fc1.weight", "blocks.1.mlp.fc2.bias", "pos_embed"} < giant


def test_names_of_torchvision_new_and_old():
    fixture, model, variables = _loaded("vit_plain")
    theirs = fixture.state()
    state = to_torch(variables, model, "torchvision")
    block = "encoder.layers.encoder_layer_1"
    np.testing.assert_array_equal(
        state[f"{block}.self_attention.in_proj_weight"][24:48],
        theirs["vit.encoder.layer.1.attention.attention.key.weight"],
    )
    np.testing.assert_array_equal(state["class_token"], theirs["vit.embeddings.cls_token"])
    old = {name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): state[name] for name in state}
    assert f"{block}.mlp.linear_2.bias" in old
    assert _equal(from_torch(old, model), variables)


def test_backbone_file_fills_a_classifier_in_part():
    fixture, model, _ = _loaded("dinov2_small")
    state = {name.removeprefix("dinov2."): array for name, array in fixture.state().items() if "classifier" not in name}
    with pytest.raises(WeightFileError, match=r"2 missing: classifier\.weight, classifier\.bias"):
        from_torch(state, model)
    assert set(from_torch(state, model, allow_partial=True)["params"]) == {"backbone"}


def test_what_a_library_does_not_have():
    _, model, variables = _loaded("dinov2_small")
    with pytest.raises(ValueError, match=r"torchvision has no ViT of this kind. Those that have: transformers, timm"):
        to_torch(variables, model, "torchvision")
    with pytest.raises(ValueError, match="over Swin, not over a ViT"):
        layouts(Classifier(Swin(), SwinHead(), 10))
