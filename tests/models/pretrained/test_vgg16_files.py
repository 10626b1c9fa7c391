"""A weight file is a whole VGG-16 or an error that names the layers."""

import numpy as np
import pytest

from vigor_jax.models.pretrained import WeightFileError


def _changed(state: dict, **changes: np.ndarray | None) -> dict:
    changed = {**state, **{name.replace("_", "."): value for name, value in changes.items()}}
    return {name: value for name, value in changed.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features_28_bias": None}, r"1 missing: features\.28\.bias"),
        ({"features_1_running_mean": np.ones(64, np.float32)}, r"1 unexpected: features\.1\.running\.mean"),
        ({"features_2_bias": np.ones(63, np.float32)}, r"features\.2\.bias is \[63\], expected \[64\]"),
        (
            {"features_0_weight": np.ones((3, 3, 3, 64), np.float32)},
            r"features\.0\.weight is \[3, 3, 3, 64\], expected \[64, 3, 3, 3\]",
        ),
        ({"features_5_bias": np.full(128, np.nan, np.float32)}, r"features\.5\.bias holds numbers that are not finite"),
    ],
)
def test_layers_that_do_not_fit_are_named(write_safetensors, torch_state, changes, message, load_vgg16):
    with pytest.raises(WeightFileError, match=message):
        load_vgg16(write_safetensors(_changed(torch_state, **changes)))


def test_all_problems_are_told_at_once(write_safetensors, torch_state, load_vgg16):
    state = _changed(
        torch_state, features_0_bias=None, features_7_bias=np.ones(1, np.float32), x=np.ones(1, np.float32)
    )
    with pytest.raises(
        WeightFileError,
        match=r"missing: features\.0\.bias; 1 unexpected: x; 1 of another shape: features\.7\.bias is \[1\]",
    ):
        load_vgg16(write_safetensors(state))


def test_ignored_layers_are_logged(write_safetensors, torch_state, caplog, load_vgg16):
    with caplog.at_level("INFO", logger="absl"):
        load_vgg16(write_safetensors(torch_state))
    assert "all 26 arrays loaded; not needed: classifier.0.bias" in caplog.text


def test_no_file_and_unknown_kind(tmp_path, load_vgg16):
    with pytest.raises(WeightFileError, match=r"vgg16\.npy: no such file"):
        load_vgg16(tmp_path / "vgg16.npy")
    with pytest.raises(WeightFileError, match=r"vgg16\.onnx: not a kind .*\.safetensors, \.pth, .*\.h5, \.npz, \.npy"):
        load_vgg16(tmp_path / "vgg16.onnx")
