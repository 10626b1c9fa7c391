"""Keras' weights, in the file layouts of its versions."""

import h5py
import numpy as np
import pytest

from vigor_jax.models.pretrained import WeightFileError


def _write(path, weights, *, saved_model: bool, top: bool, old_names: bool = False) -> None:
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if saved_model else file
        if saved_model:
            file.create_group("optimizer_weights")["iteration"] = 3
        for empty in ("input_1", "block1_pool", "flatten"):
            root.create_group(empty).attrs["weight_names"] = []
        for layer, (kernel, bias) in weights.items():
            name = f"block{layer[4]}_conv{layer[6]}"
            group = root.create_group(name)
            paths = [f"{name}_W_1:0", f"{name}_b_1:0"] if old_names else [f"{name}/kernel:0", f"{name}/bias:0"]
            group.attrs["weight_names"] = [path.encode() for path in paths]
            for path_in_group, array in zip(paths, (kernel, bias), strict=True):
                group[path_in_group] = array
        if top:
            for name in ("fc1", "fc2", "predictions"):
                group = root.create_group(name)
                group[f"{name}/kernel:0"], group[f"{name}/bias:0"] = np.ones((2, 2)), np.ones(2)


@pytest.mark.parametrize(
    "layout",
    [
        {"saved_model": False, "top": False, "old_names": True},
        {"saved_model": False, "top": True},
        {"saved_model": True, "top": True},
    ],
)
def test_layouts(tmp_path, vgg_weights, assert_loaded, layout, load_vgg16):
    _write(tmp_path / "vgg16.h5", vgg_weights, **layout)
    params, preprocessing = load_vgg16(tmp_path / "vgg16.h5")
    assert preprocessing == "keras"
    assert_loaded(params)


def test_other_layers_and_second_kernels_are_named(tmp_path, vgg_weights, load_vgg16):
    _write(tmp_path / "vgg16.h5", vgg_weights, saved_model=False, top=False)
    with h5py.File(tmp_path / "vgg16.h5", "a") as file:
        file["conv2d_7/kernel:0"] = np.ones((3, 3, 3, 64))
    with pytest.raises(WeightFileError, match=r"does not fit: 1 unexpected: conv2d_7/kernel"):
        load_vgg16(tmp_path / "vgg16.h5")
    with h5py.File(tmp_path / "vgg16.h5", "a") as file:
        file["block1_conv1/again/kernel:0"] = np.ones((3, 3, 3, 64))
    with pytest.raises(WeightFileError, match=r"block1_conv1 has two arrays block1_conv1/kernel"):
        load_vgg16(tmp_path / "vgg16.h5")


def test_a_file_that_is_no_hdf5_is_named(tmp_path, load_vgg16):
    (tmp_path / "vgg16.h5").write_bytes(b"<html>404</html>")
    with pytest.raises(WeightFileError, match=r"vgg16\.h5 is not a readable HDF5 file"):
        load_vgg16(tmp_path / "vgg16.h5")


@pytest.mark.parametrize("link", [h5py.ExternalLink("other.h5", "/secret"), h5py.SoftLink("/elsewhere")])
@pytest.mark.parametrize("name", ["model_weights", "block1_conv1"])
def test_links_are_refused(tmp_path, link, name, load_vgg16):
    """Where h5py itself would follow them to another file."""
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.ones((3, 3, 3, 64), np.float32)
    with h5py.File(tmp_path / "vgg16.h5", "w") as file:
        file[name] = link
    with pytest.raises(WeightFileError, match=rf"'{name}' is a link, .* the link was not followed"):
        load_vgg16(tmp_path / "vgg16.h5")


def test_a_link_within_a_layer_is_no_layer(tmp_path, load_vgg16):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.ones((3, 3, 3, 64), np.float32)
    with h5py.File(tmp_path / "vgg16.h5", "w") as file:
        file.create_group("block1_conv1")["kernel:0"] = h5py.ExternalLink("other.h5", "/secret")
    with pytest.raises(WeightFileError, match="holds nothing of this model: 26 missing"):
        load_vgg16(tmp_path / "vgg16.h5")


def test_numbers_kept_in_other_files_are_not_read(tmp_path, load_vgg16):
    (tmp_path / "secret").write_bytes(bytes(4 * 64))
    with h5py.File(tmp_path / "vgg16.h5", "w") as file:
        group = file.create_group("block1_conv1")
        group.create_dataset("bias:0", (64,), "f4", external=[(str(tmp_path / "secret"), 0, 256)])
    with pytest.raises(WeightFileError, match=r"the numbers of block1_conv1/bias:0 are kept in other files"):
        load_vgg16(tmp_path / "vgg16.h5")
    layout = h5py.VirtualLayout((64,), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "bias", (64,))
    with h5py.File(tmp_path / "vgg16.h5", "w") as file:
        file.create_group("block1_conv1").create_virtual_dataset("bias:0", layout)
    with pytest.raises(WeightFileError, match=r"the numbers of block1_conv1/bias:0 are kept in other files"):
        load_vgg16(tmp_path / "vgg16.h5")


def test_an_array_that_claims_terabytes_is_not_read(tmp_path, load_vgg16):
    with h5py.File(tmp_path / "vgg16.h5", "w") as file:
        group = file.create_group("block1_conv1")
        group.create_dataset("kernel:0", (3, 3, 1 << 20, 1 << 20), "f4", chunks=(3, 3, 64, 64), compression="gzip")
    assert (tmp_path / "vgg16.h5").stat().st_size < 20_000
    with pytest.raises(WeightFileError, match=r"kernel:0 is float32 \[3, 3, 1048576, 1048576\], which no layer"):
        load_vgg16(tmp_path / "vgg16.h5")


def test_text_and_objects_are_not_read(tmp_path, load_vgg16):
    for kind in (h5py.string_dtype(), h5py.vlen_dtype(np.float32), np.dtype([("a", "f4")])):
        with h5py.File(tmp_path / "vgg16.h5", "w") as file:
            file.create_group("block1_conv1").create_dataset("bias:0", (64,), kind)
        with pytest.raises(WeightFileError, match=r"bias:0 is .* \[64\], which no layer of any network is"):
            load_vgg16(tmp_path / "vgg16.h5")
