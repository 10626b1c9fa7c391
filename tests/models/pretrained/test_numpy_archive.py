"""Archives of arrays are read as they are, and nothing else is read."""

import io
import zipfile

import numpy as np
import pytest

from vigor_jax.models.pretrained import WeightFileError
from vigor_jax.models.pretrained.weight_file import read_weights


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_any_order_and_type(tmp_path, save):
    rng = np.random.default_rng(0)
    state = {
        "params/conv/kernel": rng.normal(size=(3, 2, 4)).astype(np.float32),
        "transposed": rng.normal(size=(3, 5)).astype(np.float64).T,
        "half": rng.normal(size=3).astype(np.float16),
        "big-endian": rng.normal(size=3).astype(">f4"),
        "steps": np.array(7),
        "empty": np.zeros((0, 3), np.float32),
    }
    save(tmp_path / "w.npz", **state)
    read = read_weights(tmp_path / "w.npz")
    assert set(read) == set(state)
    for name, array in state.items():
        np.testing.assert_array_equal(read[name], array, err_msg=name)


def test_objects_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", tree=np.array({"a": 1}, object))
    with pytest.raises(WeightFileError, match=r"w\.npz: 'tree' is object, not numbers"):
        read_weights(tmp_path / "w.npz")


def _written(path, *arrays: tuple[str, str, bytes]) -> None:
    """By name, the header's shape and the bytes behind it."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, shape, data in arrays:
            member = io.BytesIO()
            np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": shape})
            archive.writestr(f"{name}.npy", member.getvalue() + data)


@pytest.mark.parametrize("shape", [(1 << 40,), (4,), (1, 1)])
def test_lengths_that_are_not_there_cost_nothing(tmp_path, shape):
    _written(tmp_path / "w.npz", ("kernel", shape, b"\0" * 12))
    with pytest.raises(WeightFileError, match=r"'kernel' claims to be float32 \[.*\], of [\d,]+ bytes, and has 12"):
        read_weights(tmp_path / "w.npz")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name(tmp_path):
    _written(tmp_path / "w.npz", ("kernel", (1,), b"\0" * 4), ("kernel", (1,), b"\1" * 4))
    with pytest.raises(WeightFileError, match="two arrays 'kernel'"):
        read_weights(tmp_path / "w.npz")


def test_every_damaged_byte_is_noticed_or_harmless(tmp_path):
    state = {"kernel": np.arange(6, dtype=np.float32), "bias": np.ones(2, np.float32)}
    np.savez(tmp_path / "whole.npz", **state)
    whole = (tmp_path / "whole.npz").read_bytes()
    noticed = 0
    for at in range(0, len(whole), 3):
        (tmp_path / "w.npz").write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            read = read_weights(tmp_path / "w.npz")
        except WeightFileError:
            noticed += 1
            continue
        for array in read.values():  # a name or a time may have changed, the checksum guards the numbers
            assert any(np.array_equal(array, one) for one in state.values())
    assert noticed > 0.5 * len(whole) / 3
    for length in range(0, len(whole), 7):
        (tmp_path / "w.npz").write_bytes(whole[:length])
        with pytest.raises(WeightFileError, match=r"w\.npz"):
            read_weights(tmp_path / "w.npz")
