"""Seven layers of the shallow network are in the deep one, and nothing else has changed."""

import jax
import numpy as np
import pytest
from flax import traverse_util

from vigor_jax.errors import UserError
from vigor_jax.models.classifier import Classifier
from vigor_jax.models.pretrained.conversion import variable_shapes
from vigor_jax.models.vgg import NAMES, VGG, VGGHead
from vigor_jax.models.vgg_from_shallower import vgg_from_shallower


def _variables(configuration: str, *, width: float = 0.05, positions: int = 2, classes: int = 3, seed: int = 0) -> dict:
    model = Classifier(VGG(configuration, width), VGGHead(positions, width), classes)
    shapes = variable_shapes(model, (1, 32 * positions, 32 * positions, 3))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


_SAME = {
    "backbone/conv1_1",
    "backbone/conv2_1",
    "backbone/conv3_1",
    "backbone/conv3_2",
    "head/fc6",
    "head/fc7",
    "logits",
}


@pytest.mark.parametrize("configuration", sorted(set(NAMES.values()) - {"A", "A-LRN"}))
def test_what_is_copied_and_what_stays(configuration):
    fresh, shallow = _variables(configuration), _variables("A", seed=1)
    started = {**fresh, "batch_stats": {"x": 1}}
    started = vgg_from_shallower(started, shallow)
    assert started["batch_stats"] == {"x": 1}
    ours, before, theirs = (traverse_util.flatten_dict(tree["params"], sep="/") for tree in (started, fresh, shallow))
    assert set(ours) == set(before)
    for path, leaf in ours.items():
        source = theirs if path.rsplit("/", 1)[0] in _SAME else before
        np.testing.assert_array_equal(leaf, source[path], err_msg=path)
    assert {path.rsplit("/", 1)[0] for path in ours if not np.array_equal(ours[path], before[path])} == _SAME


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 4}, r"logits/kernel is \[205, 3\] in the deeper and \[205, 4\] in the shallower; logits/bias"),
        ({"positions": 3}, r"shallower VGG: head/fc6/kernel is \[2, 2, 26, 205\] in the deeper and \[3, 3"),
        ({"width": 0.06}, r"shallower VGG: backbone/conv1_1/kernel is .*; logits/kernel"),
    ],
)
def test_everything_that_does_not_fit_is_named(changes, message):
    with pytest.raises(UserError, match=message):
        vgg_from_shallower(_variables("D"), _variables("A", **changes))


def test_a_backbone_alone_is_refused():
    whole = _variables("A")
    alone = {"params": whole["params"]["backbone"]}
    with pytest.raises(UserError, match=r"backbone/conv1_1/kernel is .* in the deeper and missing in the shallower"):
        vgg_from_shallower(_variables("B"), alone)
    with pytest.raises(UserError, match=r"logits/bias is missing in the deeper and missing in the shallower"):
        vgg_from_shallower(alone, alone)
