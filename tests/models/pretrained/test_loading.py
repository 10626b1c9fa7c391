"""Any registered backbone, or classifier over one, from any kind of file, or a report of what does not fit."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import h5py
import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.models.parity.drawn_numbers import draw
from vigor_jax.models import registry
from vigor_jax.models.classifier import Classifier
from vigor_jax.models.convnext import ConvNeXt, ConvNeXtHead
from vigor_jax.models.efficientnet import EfficientNet, EfficientNetHead
from vigor_jax.models.mobilenet import MobileNet, MobileNetHead
from vigor_jax.models.pretrained import convnext, efficientnet, mobilenet, resnet, swin, vgg, vit
from vigor_jax.models.pretrained.conversion import filled, variable_shapes
from vigor_jax.models.pretrained.load_report import UnfittingWeightsError
from vigor_jax.models.pretrained.loading import _FAMILIES, load
from vigor_jax.models.pretrained.own_names import to_own_names
from vigor_jax.models.pretrained.weight_file_error import WeightFileError
from vigor_jax.models.resnet import ResNet, ResNetHead
from vigor_jax.models.swin import Swin, SwinHead
from vigor_jax.models.vgg import VGG, VGGHead
from vigor_jax.models.vit import ViT, ViTHead

# Of each family a small one: a name of the registry, a classifier, and what writes its weights as a library does.
_CASES: dict[str, tuple[nn.Module, nn.Module, Callable[..., dict], str]] = {
    "vgg16": (VGG("D", 0.02), VGGHead(1, 0.005), vgg.to_arrays, "torchvision"),
    "mobilenet_0.25": (MobileNet(width=0.25), MobileNetHead(), mobilenet.to_torch, "tf"),
    "resnet50": (ResNet((1, 1), 4), ResNetHead(), resnet.to_torch, "torchvision"),
    "efficientnet_b0": (EfficientNet(0.25, 0.25), EfficientNetHead(0.25), efficientnet.to_torch, "torchvision"),
    "convnext_tiny": (ConvNeXt((1, 1), (8, 16)), ConvNeXtHead(), convnext.to_torch, "torchvision"),
    "swin_tiny": (Swin(embed=12, depths=(1, 1), heads=(1, 2), window=4), SwinHead(), swin.to_torch, "torchvision"),
    "vit_base_16": (ViT(patch=16, width=16, depth=1, heads=2, positions=2), ViTHead(), vit.to_torch, "tf"),
}


def _variables(module: nn.Module, side: int = 32) -> dict[str, Any]:
    shapes = variable_shapes(module, (1, side, side, 3))
    return jax.tree_util.tree_map_with_path(lambda path, leaf: draw(jax.tree_util.keystr(path), leaf.shape), shapes)


def _equal(ours: Any, expected: Any) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, ours, expected))


def test_every_family_has_a_conversion():
    assert {type(entry.make()) for entry in registry.BACKBONES.values()} == set(_FAMILIES)
    assert {type(case[0]) for case in _CASES.values()} == set(_FAMILIES)


@pytest.mark.parametrize("name", _CASES)
def test_every_family_from_its_library_and_from_our_own_names(tmp_path, name):
    backbone, head, to_file, preprocessing = _CASES[name]
    model = Classifier(backbone, head, 5)
    variables = _variables(model)
    save_file(to_file(variables, model), tmp_path / "w.safetensors")
    np.savez(tmp_path / "w.npz", **to_own_names(variables))
    body = {kind: tree["backbone"] for kind, tree in variables.items()}
    for file in ("w.safetensors", "w.npz"):
        loaded = load(model, name, tmp_path / file)
        assert loaded.preprocessing == preprocessing
        assert _equal(loaded.variables, variables)
        assert not loaded.report.troubles()
        assert _equal(load(backbone, name, tmp_path / file).variables, body)


def test_keras_file_of_a_vgg(tmp_path):
    model = Classifier(VGG("A", 0.02), VGGHead(2, 0.005), 5)
    variables = _variables(model, 64)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for key, array in vgg.to_arrays(variables, model, "keras_1").items():
            file[f"{key}:0"] = array
    loaded = load(model, "vgg11", tmp_path / "w.h5")
    assert loaded.preprocessing == "keras"
    assert _equal(loaded.variables, variables)


def test_the_authors_file_of_vgg16(tmp_path, vgg_weights):
    tree = {layer: list(pair) for layer, pair in vgg_weights.items()}
    np.save(tmp_path / "vgg16.npy", tree, allow_pickle=True)
    loaded = load(VGG(), "vgg16", tmp_path / "vgg16.npy")
    assert loaded.preprocessing == "vigor"
    expected = {layer: {"kernel": kernel, "bias": bias} for layer, (kernel, bias) in vgg_weights.items()}
    assert _equal(loaded.variables, {"params": expected})
    np.save(tmp_path / "vgg16.npy", tree | {"conv9_1": tree["conv1_1"]}, allow_pickle=True)
    with pytest.raises(WeightFileError, match=r"vgg16\.npy is no vgg16\.npy: 1 unexpected: conv9_1"):
        load(VGG(), "vgg16", tmp_path / "vgg16.npy")


def test_another_number_of_classes_is_refused_or_left_out(tmp_path):
    backbone, head, to_file, _ = _CASES["resnet50"]
    model, wider = Classifier(backbone, head, 5), Classifier(backbone, head, 7)
    variables, fresh = _variables(model), _variables(wider)
    save_file(to_file(variables, model), tmp_path / "w.safetensors")
    with pytest.raises(UnfittingWeightsError, match="2 of another shape: classifier") as caught:
        load(wider, "resnet50", tmp_path / "w.safetensors")
    assert len(caught.value.report.mismatched) == 2
    partial = load(wider, "resnet50", tmp_path / "w.safetensors", allow_partial=True)
    merged = filled(partial.variables, fresh)
    assert _equal(merged["params"]["backbone"], variables["params"]["backbone"])
    assert _equal(merged["params"]["logits"], fresh["params"]["logits"])


def test_own_names_of_a_head_of_another_size(tmp_path):
    model = Classifier(VGG("A", 0.02), VGGHead(8, 0.005), 5)  # of larger images than published
    variables = _variables(model, 256)
    np.savez(tmp_path / "w.npz", **to_own_names(variables))
    assert _equal(load(model, "vgg11", tmp_path / "w.npz").variables, variables)


class _Nobodys(nn.Module):
    @nn.compact
    def __call__(self, images, *, train: bool = False):
        return (nn.Conv(4, (3, 3), name="conv")(images),)


def test_names_that_nobody_has(tmp_path):
    save_file({"a": np.ones(1, np.float32)}, tmp_path / "w.safetensors")
    with pytest.raises(registry.UnknownBackboneError, match="Did you mean vgg16"):
        load(VGG(), "vgg_16", tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="no conversion of weights for _Nobodys"):
        load(_Nobodys(), "vgg16", tmp_path / "w.safetensors")
