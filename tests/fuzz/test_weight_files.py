"""Damaged weight files of every kind: a WeightFileError that names the file, or the weights; nothing runs."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vigor_jax.models.pretrained import WeightFileError
from vigor_jax.models.pretrained.numpy_pickle import read_npy
from vigor_jax.models.pretrained.weight_file import read_weights

# The first two layers alone: small files, every part of which is worth damaging.
LAYERS = {"conv1_1": (3, 3, 3, 4), "conv1_2": (3, 3, 4, 4)}


def write_whole(folder: Path) -> dict[str, Path]:
    import h5py
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    tree = {name: [rng.normal(size=shape).astype("f4"), np.zeros(4, "f4")] for name, shape in LAYERS.items()}
    np.save(folder / "vgg16.npy", tree, allow_pickle=True)
    with h5py.File(folder / "vgg16.h5", "w") as file:
        for name, (kernel, bias) in tree.items():
            group = file.create_group(f"block{name[4]}_conv{name[6]}")
            group["kernel:0"], group["bias:0"] = kernel, bias
    save_file(
        {f"features.{2 * k}.weight": pair[0] for k, pair in enumerate(tree.values())}, folder / "vgg16.safetensors"
    )
    np.savez(folder / "vgg16.npz", **{f"params/{name}/kernel": pair[0] for name, pair in tree.items()})
    return {suffix: folder / f"vgg16.{suffix}" for suffix in ("npy", "h5", "safetensors", "npz")}


def attempt(read, path) -> None:
    try:
        read(str(path))
    except WeightFileError as error:
        if str(path) not in str(error):
            raise AssertionError(f"the file is not named: {error}") from error


@st.composite
def edits(draw):
    """Where, relative to the length, what is put there, and how much is taken out for it."""
    return draw(st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6), st.integers(0, 12)), min_size=1, max_size=4))


def damaged(content: bytes, edits) -> bytes:
    for share, put, taken in edits:
        at = int(share * len(content))
        content = content[:at] + put + content[at + taken :]
    return content


@given(edits())
def test_numpy_pickles(tmp_path_factory, edits):
    folder = tmp_path_factory.getbasetemp()
    whole = folder / "whole.npy"
    if not whole.exists():
        write_whole(folder)["npy"].rename(whole)
    (folder / "damaged.npy").write_bytes(damaged(whole.read_bytes(), edits))
    attempt(read_npy, folder / "damaged.npy")


@given(st.binary(max_size=60))
def test_any_pickle(tmp_path_factory, body):
    """Any opcodes behind a sound header."""
    path = tmp_path_factory.getbasetemp() / "any.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(body)
    attempt(read_npy, path)


@given(edits())
def test_safetensors(tmp_path_factory, edits):
    folder = tmp_path_factory.getbasetemp()
    whole = folder / "whole.safetensors"
    if not whole.exists():
        write_whole(folder)["safetensors"].rename(whole)
    (folder / "damaged.safetensors").write_bytes(damaged(whole.read_bytes(), edits))
    attempt(read_weights, folder / "damaged.safetensors")


@given(edits())
def test_numpy_archives(tmp_path_factory, edits):
    folder = tmp_path_factory.getbasetemp()
    whole = folder / "whole.npz"
    if not whole.exists():
        write_whole(folder)["npz"].rename(whole)
    (folder / "damaged.npz").write_bytes(damaged(whole.read_bytes(), edits))
    attempt(read_weights, folder / "damaged.npz")


SCRIPT = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
from tests.fuzz.test_weight_files import attempt, write_whole
from vigor_jax.models.pretrained.weight_file import read_weights
folder = Path(sys.argv[2])
whole = write_whole(folder)["h5"].read_bytes()
rng = np.random.default_rng(int(sys.argv[4]))
path = folder / "damaged.h5"
for _ in range(int(sys.argv[3])):
    data = bytearray(whole)
    for _ in range(rng.integers(1, 5)):
        data[int(len(data) * rng.random() ** 2)] = rng.integers(256)
    path.write_bytes(data[: rng.integers(len(data))] if rng.random() < 0.1 else data)
    attempt(read_weights, path)
print("done")
"""


def test_hdf5(tmp_path):
    """In a process of its own: HDF5 is a large library in C, and a crash must be seen as one."""
    repository = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", SCRIPT, repository, str(tmp_path), "300", "0"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr[-2000:]


class Calls:
    def __init__(self, *arguments):
        self._arguments = arguments

    def __reduce__(self):
        return os.mkdir, self._arguments


@given(st.integers(0, 5), st.recursive(st.just("call"), lambda inner: st.lists(inner, max_size=2), max_leaves=4))
def test_no_nesting_of_a_call_runs(tmp_path_factory, protocol, shape):
    folder = tmp_path_factory.getbasetemp()

    def build(shape):
        return Calls(str(folder / "executed")) if shape == "call" else [build(item) for item in shape]

    path = folder / "calls.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump({"conv1_1": build(shape)}, file, protocol=protocol)
    attempt(read_npy, path)
    assert not (folder / "executed").exists()
