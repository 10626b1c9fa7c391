"""Depthwise filters are told by their names. That the names are right is tested with every registered backbone."""

import pytest

from vigor_jax.models.depthwise_filters import is_depthwise_filter


@pytest.mark.parametrize(
    ("path", "depthwise"),
    [
        ("backbone/block_1_depthwise/kernel", True),
        ("stage0/dwconv/kernel", True),
        ("depthwise_conv/kernel", True),
        ("dwconv/bias", False),
        ("block_1_depthwise_norm/scale", False),
        ("block_1_pointwise/kernel", False),
        ("kernel", False),
    ],
)
def test_by_name(path, depthwise):
    assert is_depthwise_filter(path.split("/")) == depthwise
