"""Which arrays of real networks decay, by their names."""

import functools
import re

import jax
import numpy as np
import pytest

from vigor_jax.models import CrossViewModel
from vigor_jax.models.classifier import Classifier
from vigor_jax.models.mobilenet import MobileNet, MobileNetHead
from vigor_jax.models.vgg import VGG, VGGHead
from vigor_jax.train import weight_decay


def decayed(init, *inputs):
    """`{"backbone/conv/kernel": whether it decays}` of every parameter."""
    params = jax.eval_shape(lambda: init(jax.random.key(0), *inputs))["params"]
    mask = weight_decay.mask(params)
    assert jax.tree.structure(mask) == jax.tree.structure(params)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(mask)
    }


IMAGES = np.zeros((1, 32, 32, 3), np.float32)


def test_of_a_mobilenet_all_kernels_but_the_depthwise_ones():
    found = decayed(Classifier(MobileNet(width=0.1), MobileNetHead(), classes=5).init, IMAGES)
    blocks = range(1, 14)
    assert {name for name, decays in found.items() if decays} == {
        "backbone/conv/kernel",
        "logits/kernel",
        *(f"backbone/block_{k}_pointwise/kernel" for k in blocks),
    }
    assert {name for name, decays in found.items() if not decays} == {
        "logits/bias",
        *(f"backbone/block_{k}_depthwise/kernel" for k in blocks),
        *(f"backbone/conv_norm/{each}" for each in ("scale", "bias")),
        *(f"backbone/block_{k}_{kind}_norm/{each}" for k in blocks for kind in ("depthwise", "pointwise")
          for each in ("scale", "bias")),
    }  # fmt: skip


def test_of_a_vgg_all_weights_and_no_biases():
    network = Classifier(VGG("A", width=0.03), VGGHead(positions=1, width=0.01), classes=5)
    found = decayed(network.init, IMAGES)
    assert len(found) == 2 * (8 + 3)
    for name, decays in found.items():
        assert decays == name.endswith("/kernel"), name
        assert name.endswith(("/kernel", "/bias"))


@pytest.mark.parametrize("aggregation", ["safa", "fully_connected"])
def test_of_the_two_towers(aggregation):
    model = CrossViewModel(aggregation, "vgg11", width=0.03, num_heads=2, descriptor_dim=4, offset_outputs=2)
    photo = np.zeros((1, 64, 64, 3), np.uint8)
    for name, decays in decayed(functools.partial(model.init, train=False), photo, photo).items():
        assert decays == bool(re.search(r"/kernel(_in|_out)?$", name)), name
        assert decays != bool(re.search(r"/bias(_in|_out)?$", name)), name
