"""The authors' vgg16.npy, and what a pickle must not be able to do."""

import io
import os
import pickle
import struct
import tracemalloc
from typing import ClassVar

import numpy as np
import pytest

from vigor_jax.models.pretrained import WeightFileError


def _tree(weights: dict) -> dict:
    fully_connected = {name: [np.ones((2, 2), np.float32), np.ones(2, np.float32)] for name in ("fc6", "fc7", "fc8")}
    return {**{layer: list(pair) for layer, pair in weights.items()}, **fully_connected}


def _npy_header(file: io.BytesIO) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})


class _Python2Pickler(pickle._Pickler):
    """Writes bytes and text as Python 2 wrote its one kind of string, which the published file is made of."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def _save_string(self, string):
        data = string.encode("latin1") if isinstance(string, str) else bytes(string)
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(string)

    dispatch[bytes] = _save_string
    dispatch[str] = _save_string


def test_a_file_of_python_3(tmp_path, vgg_weights, assert_loaded, load_vgg16):
    np.save(tmp_path / "vgg16.npy", _tree(vgg_weights), allow_pickle=True)
    params, preprocessing = load_vgg16(tmp_path / "vgg16.npy")
    assert preprocessing == "vigor"
    assert_loaded(params)


def test_a_file_of_python_2(tmp_path, vgg_weights, assert_loaded, load_vgg16):
    file = io.BytesIO()
    _npy_header(file)
    body = io.BytesIO()
    _Python2Pickler(body, protocol=2).dump(np.array(_tree(vgg_weights), object))
    file.write(body.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    (tmp_path / "vgg16.npy").write_bytes(file.getvalue())
    assert b"_codecs" not in body.getvalue()  # really as Python 2 would have it
    assert_loaded(load_vgg16(tmp_path / "vgg16.npy")[0])


@pytest.mark.parametrize("protocol", [0, 2, 3, 4])
@pytest.mark.parametrize("order", [">f4", "<f8"])
def test_any_protocol_byte_order_and_memory_order(tmp_path, vgg_weights, assert_loaded, protocol, order, load_vgg16):
    """One layer changes its form; the others stay, so that the whole file is checked."""
    if protocol == 0:
        tree = {"conv1_1": [np.asfortranarray(part.astype(order)) for part in vgg_weights["conv1_1"]]}
    else:
        tree = _tree(vgg_weights)
        tree["conv1_1"] = [np.asfortranarray(part.astype(order)) for part in tree["conv1_1"]]
    file = io.BytesIO()
    _npy_header(file)
    pickle.dump(np.array(tree, object), file, protocol=protocol)
    (tmp_path / "vgg16.npy").write_bytes(file.getvalue())
    if protocol == 0:  # too slow as text for the whole network: the one layer is read, the others are missed
        with pytest.raises(WeightFileError, match="does not fit: 24 missing: conv1_2/kernel"):
            load_vgg16(tmp_path / "vgg16.npy")
    else:
        assert_loaded(load_vgg16(tmp_path / "vgg16.npy")[0])


class _Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self._call = (function, arguments)

    def __reduce__(self):
        return self._call


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"conv1_1": [x, x]}, lambda x: np.array({"fc6": x}, object)])
@pytest.mark.parametrize("function", [os.mkdir, eval, np.load, pickle.loads, getattr, __import__])
def test_a_file_that_asks_for_code_is_refused_and_nothing_runs(tmp_path, function, wrap, load_vgg16):
    argument = {eval: f"__import__('os').mkdir({str(tmp_path / 'executed')!r})"}
    file = io.BytesIO()
    _npy_header(file)
    pickle.dump(wrap(_Calls(function, argument.get(function, str(tmp_path / "executed")))), file, protocol=2)
    (tmp_path / "vgg16.npy").write_bytes(file.getvalue())
    with pytest.raises(WeightFileError, match=r"it asks for .*malicious; nothing of it was run"):
        load_vgg16(tmp_path / "vgg16.npy")
    assert os.listdir(tmp_path) == ["vgg16.npy"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones(3), r"holds an array float64 \[3\]"),
        (np.array(["a", None], object), r"holds an array object \[2\]"),
        (np.array([[1]], object).reshape(()), "holds int, not the dict"),
        ({"conv1_1": [np.array(["a"], object), np.ones(64)]}, "expected one dict"),
        ({"conv1_1": [np.ones((3, 3, 3, 64), np.int8), np.ones(64)]}, "numbers of type 'i1'"),
        ({"conv1_1": ["kernel", "bias"], "resnet": 1}, "is no vgg16.npy: 2 unexpected: conv1_1, resnet"),
    ],
)
def test_other_contents_say_what_they_are(tmp_path, value, message, load_vgg16):
    np.save(tmp_path / "vgg16.npy", value, allow_pickle=True)
    with pytest.raises(WeightFileError, match=message):
        load_vgg16(tmp_path / "vgg16.npy")


def _npy(tmp_path, body: bytes):
    file = io.BytesIO()
    _npy_header(file)
    (tmp_path / "vgg16.npy").write_bytes(file.getvalue() + body)
    return tmp_path / "vgg16.npy"


@pytest.mark.parametrize(
    "body",
    [
        b"\x80\x04" + b"\x8e" + (1 << 45).to_bytes(8, "little") + b"x",  # bytes of 32 TiB
        b"\x80\x04" + b"\x8e" + (2**64 - 1).to_bytes(8, "little") + b"x",
        b"\x80\x02}r" + (2**32 - 2).to_bytes(4, "little") + b".",  # the 4-thousand-millionth entry of the memo
        b"\x80\x02\x8b" + (2**31 - 1).to_bytes(4, "little") + b"\x01",  # a number of 2 GiB
        b"\x80\x04\x95" + (1 << 50).to_bytes(8, "little") + b"}.",  # a frame
        b"(" * 3000 + b"t" * 3000 + b".",  # depth
        b"",
        b".",
        b"\x80\xff.",
    ],
)
def test_lengths_that_a_damaged_file_claims_cost_nothing(tmp_path, body, load_vgg16):
    tracemalloc.start()
    try:
        with pytest.raises(WeightFileError, match=r"vgg16\.npy "):
            load_vgg16(_npy(tmp_path, body))
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_containers_that_share_their_parts_are_not_printed(tmp_path, load_vgg16):
    shared: tuple = ()
    for _ in range(60):
        shared = (shared, shared)  # written out, 2^60 of them
    body = pickle.dumps(shared, protocol=2)[:-1]
    dtype = b"cnumpy\ndtype\n" + body[2:] + b"\x85R."
    with pytest.raises(WeightFileError, match="numbers of type a tuple"):
        load_vgg16(_npy(tmp_path, b"\x80\x02" + dtype))


@pytest.mark.parametrize("name", [b"cnumpy._core.multiarray\n_reconstruct\n", b"c_codecs\nencode\n"])
def test_nothing_a_file_sets_stays(tmp_path, name, load_vgg16):
    """The pickle gives a stand-in an attribute."""
    body = b"\x80\x02" + name + b"}U\x08attachedK\x01sb."
    with pytest.raises(WeightFileError, match="is not a readable vgg16"):
        load_vgg16(_npy(tmp_path, body))


def test_a_truncated_file_is_named(tmp_path, vgg_weights, load_vgg16):
    np.save(tmp_path / "vgg16.npy", {"conv1_1": vgg_weights["conv1_1"]}, allow_pickle=True)
    content = (tmp_path / "vgg16.npy").read_bytes()
    for kept in (5, 100, len(content) - 40):
        (tmp_path / "vgg16.npy").write_bytes(content[:kept])
        with pytest.raises(WeightFileError, match=r"vgg16\.npy is not a readable vgg16\.npy"):
            load_vgg16(tmp_path / "vgg16.npy")
