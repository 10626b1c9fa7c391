"""Conversion is strict, goes both ways, and says of every name what became of it."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from vigor_jax.models.pretrained.conversion import (
    CONVOLUTION,
    KERAS_DEPTHWISE,
    LINEAR,
    POINTWISE_AS_LINEAR,
    SAME,
    batch_norm,
    convolution,
    filled,
    fused,
    layer_norm,
    linear,
    link,
    split,
    to_ours,
    to_theirs,
    variable_shapes,
    within,
    without_prefix,
)
from vigor_jax.models.pretrained.weight_file_error import WeightFileError


class _Network(nn.Module):
    classes: int = 3

    @nn.compact
    def __call__(self, images, *, train: bool = False):
        features = nn.Conv(4, (3, 5), use_bias=False, name="conv")(images)
        features = nn.Conv(4, (3, 3), feature_group_count=4, name="depthwise")(features)
        features = nn.BatchNorm(use_running_average=not train, name="norm")(features).mean((1, 2))
        return nn.Dense(self.classes, name="logits")(features)


_TABLE = (
    *convolution("net.conv", "conv", bias=False),
    *convolution("net.dw", "depthwise", bias=True),
    *batch_norm("net.bn", "norm"),
    *linear("fc", "logits"),
)
_SHAPES = {
    "net.conv.weight": (4, 3, 3, 5),
    "net.dw.weight": (4, 1, 3, 3),
    "net.dw.bias": (4,),
    **{f"net.bn.{part}": (4,) for part in ("weight", "bias", "running_mean", "running_var")},
    "fc.weight": (3, 4),
    "fc.bias": (3,),
}


@pytest.fixture
def state() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.uniform(0.5, 1.5, shape).astype(np.float32) for name, shape in _SHAPES.items()}


@pytest.fixture(scope="module")
def shapes() -> dict:
    return variable_shapes(_Network(), (1, 8, 8, 3))


def test_both_ways(state, shapes):
    variables, report = to_ours(state, _TABLE, shapes)
    assert jax.tree.map(lambda leaf: leaf.shape, variables) == jax.tree.map(lambda leaf: leaf.shape, shapes)
    params = variables["params"]
    assert params["conv"]["kernel"][1, 4, 2, 3] == state["net.conv.weight"][3, 2, 1, 4]
    np.testing.assert_array_equal(
        variables["params"]["depthwise"]["kernel"][1, 2, 0, 3], state["net.dw.weight"][3, 0, 1, 2]
    )
    np.testing.assert_array_equal(variables["params"]["logits"]["kernel"][2, 1], state["fc.weight"][1, 2])
    np.testing.assert_array_equal(variables["batch_stats"]["norm"]["var"], state["net.bn.running_var"])
    assert set(report.loaded) == set(state)
    assert not report.troubles()
    back = to_theirs(variables, _TABLE)
    assert set(back) == set(state)
    for name, array in state.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].flags.c_contiguous


@pytest.mark.parametrize("broken", ["missing", "unexpected", "mismatched", "all"])
def test_what_does_not_fit_is_refused_by_name(state, shapes, broken):
    expected = []
    if broken in ("missing", "all"):
        del state["net.bn.running_var"]
        expected.append(r"1 missing: net\.bn\.running_var")
    if broken in ("unexpected", "all"):
        state |= {f"old.{i}": np.ones(1) for i in range(7)}
        expected.append(r"7 unexpected: old\.0, old\.1, old\.2, old\.3, old\.4 and 2 more")
    if broken in ("mismatched", "all"):
        state["net.conv.weight"] = np.ones((3, 5, 3, 4), np.float32)
        expected.append(r"1 of another shape: net\.conv\.weight is \[3, 5, 3, 4\], expected \[4, 3, 3, 5\]")
    with pytest.raises(
        WeightFileError, match=r"w\.pth does not fit: " + "; ".join(expected) + r"\. Nothing was loaded"
    ):
        to_ours(state, _TABLE, shapes, source="w.pth")


def test_another_number_of_classes_loads_only_when_told(state):
    network = _Network(classes=2)
    shapes = variable_shapes(network, (1, 8, 8, 3))
    with pytest.raises(WeightFileError, match=r"fc\.weight is \[3, 4\], expected \[2, 4\], fc\.bias is \[3\]"):
        to_ours(state, _TABLE, shapes)
    variables, report = to_ours(state, _TABLE, shapes, allow_partial=True)
    assert "logits" not in variables["params"]
    assert len(report.mismatched) == 2
    fresh = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    whole = filled(variables, fresh)
    assert whole["params"]["logits"]["kernel"].shape == (4, 2)
    np.testing.assert_array_equal(whole["params"]["depthwise"]["bias"], state["net.dw.bias"])


def test_a_file_of_another_model_is_refused_even_in_part(shapes):
    with pytest.raises(WeightFileError, match="holds nothing of this model: 9 missing"):
        to_ours({"features.0.weight": np.ones((4, 3, 3, 3))}, _TABLE, shapes, allow_partial=True)


def test_counters_are_ignored_and_bad_numbers_are_not(state, shapes):
    counted = state | {"net.bn.num_batches_tracked": np.int64(7)}
    with pytest.raises(WeightFileError, match="1 unexpected"):
        to_ours(counted, _TABLE, shapes)
    _, report = to_ours(counted, _TABLE, shapes, ignored=(r".*\.num_batches_tracked",))
    assert report.ignored == ("net.bn.num_batches_tracked",)
    state["fc.bias"] = np.array([0, np.inf, 0], np.float16)
    with pytest.raises(WeightFileError, match=r"fc\.bias holds numbers that are not finite"):
        to_ours(state, _TABLE, shapes, allow_partial=True)


def test_a_table_that_is_not_the_modules_is_a_mistake_of_ours(state, shapes):
    with pytest.raises(ValueError, match=r"no link for \['params/logits/bias', 'params/logits/kernel'\]"):
        to_ours(state, _TABLE[:-2], shapes)
    with pytest.raises(ValueError, match=r"no variable for \['params/more/bias'"):
        to_ours(state, (*_TABLE, *layer_norm("more", "more")), shapes)
    with pytest.raises(ValueError, match=r"fc\.bias twice"):
        to_ours(state, (*_TABLE[:-1], link("fc.bias", "params/logits/bias"), _TABLE[-1]), shapes)


def test_parts_of_a_whole(state):
    nested = within(_TABLE, "model.", "backbone")
    assert nested[0].theirs == ("model.net.conv.weight",)
    assert nested[0].ours == ("params/backbone/conv/kernel",)
    assert nested[5].ours == ("batch_stats/backbone/norm/mean",)
    assert without_prefix({f"model.{name}": array for name, array in state.items()}, "model.").keys() == state.keys()


@pytest.mark.parametrize(
    ("layout", "theirs"),
    [
        (SAME, (5, 2)),
        (CONVOLUTION, (8, 3, 5, 7)),
        (CONVOLUTION, (8, 1, 3, 3)),
        (LINEAR, (4, 6)),
        (POINTWISE_AS_LINEAR, (4, 6, 1, 1)),
        (KERAS_DEPTHWISE, (3, 3, 8, 1)),
    ],
)
def test_layouts_invert(layout, theirs):
    array = np.random.default_rng(0).normal(size=theirs)
    (back,) = layout.to_theirs(layout.to_ours((array,)))
    np.testing.assert_array_equal(back, array)


def test_fused_and_split():
    joined = np.arange(24.0).reshape(6, 4)  # a torch linear layer [3 * 2, 4]
    query, key, value = fused(LINEAR, axis=1, parts=3).to_ours((joined,))
    np.testing.assert_array_equal(key, joined[2:4].T)
    (back,) = fused(LINEAR, axis=1, parts=3).to_theirs((query, key, value))
    np.testing.assert_array_equal(back, joined)
    separate = (joined[:2], joined[2:4], joined[4:])
    (ours,) = split(LINEAR, axis=1, parts=3).to_ours(separate)
    np.testing.assert_array_equal(ours, joined.T)
    for part, whole in zip(split(LINEAR, axis=1, parts=3).to_theirs((ours,)), separate, strict=True):
        np.testing.assert_array_equal(part, whole)
