"""Files of weights are read whole by their own names; torch's side of it is in test_torch_files.py."""

import h5py
import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from vigor_jax.models.mobilenet import MobileNet
from vigor_jax.models.pretrained import WeightFileError
from vigor_jax.models.pretrained.conversion import variable_shapes
from vigor_jax.models.pretrained.mobilenet import from_keras, to_keras
from vigor_jax.models.pretrained.weight_file import read_weights


def test_safetensors(tmp_path):
    state = {"a.weight": np.arange(6, dtype=np.float16).reshape(2, 3), "a.count": np.array(7)}
    save_file(state, tmp_path / "w.safetensors")
    read = read_weights(tmp_path / "w.safetensors")
    assert set(read) == set(state)
    for name, array in state.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype


def test_keras_file_of_a_mobilenet(tmp_path):
    model = MobileNet(width=0.25)
    rng = np.random.default_rng(0)
    shapes = variable_shapes(model, (1, 32, 32, 3))
    variables = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    with h5py.File(tmp_path / "mobilenet.h5", "w") as file:
        file.create_group("conv1_relu").attrs["weight_names"] = []
        for name, array in to_keras(variables, model).items():
            layer, array_name = name.split("/")
            file[f"{layer}/{layer}/{array_name}:0"] = array
    read = from_keras(read_weights(tmp_path / "mobilenet.h5"), model)
    assert jax.tree.all(jax.tree.map(np.array_equal, read, variables))


def test_pth_in_a_wrapper(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: .pth files cannot be written or read")
    state = {"a.weight": torch.ones(2, 3, dtype=torch.bfloat16), "a.count": torch.tensor(7)}
    for wrapped in (state, {"model": state, "epoch": 3}, {"state_dict": state}):
        torch.save(wrapped, tmp_path / "w.pth")
        read = read_weights(tmp_path / "w.pth")
        assert (read["a.weight"].dtype, read["a.count"].dtype) == (np.float32, np.int64)
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(WeightFileError, match=r"w\.pth does not hold a state dict"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("shape", "dtype", "links", "message"),
    [
        ((1 << 15, 1 << 15), "f4", {}, r"conv/kernel:0 is float32 \[32768, 32768\], which no layer of any network"),
        ((3,), "i8", {}, r"conv/kernel:0 is int64 \[3\]"),
        ((3,), "f4", {"again/kernel:0": (3,)}, r"conv has two arrays conv/kernel"),
        ((3,), "f4", {"external": h5py.ExternalLink("other.h5", "/conv")}, "'external' is a link"),
    ],
)
def test_what_no_keras_file_has(tmp_path, shape, dtype, links, message):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        group = file.create_group("conv")
        group.create_dataset("kernel:0", shape, dtype, chunks=True)
        for name, target in links.items():
            if isinstance(target, tuple):
                group[name] = np.ones(target, np.float32)
            else:
                file[name] = target
    with pytest.raises(WeightFileError, match=message):
        read_weights(tmp_path / "w.h5")


def test_no_file_and_unknown_kind(tmp_path):
    with pytest.raises(WeightFileError, match=r"w\.pth: no such file"):
        read_weights(tmp_path / "w.pth")
    with pytest.raises(WeightFileError, match=r"w\.onnx: not a kind .*\.safetensors, \.pth, \.pt, \.bin, \.h5"):
        read_weights(tmp_path / "w.onnx")
