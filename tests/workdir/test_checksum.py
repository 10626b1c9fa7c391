import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from vigor_jax.parallel import mesh as meshes
from vigor_jax.workdir import checksum

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((12, 5)).astype(np.float32)


def of(array):
    return checksum.of_state({"a": jnp.asarray(array)})["a"]


def mixed(word):
    for shift, odd in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        word = (word ^ (word >> shift)) * odd % 2**32
    return word ^ (word >> 16)


def by_loops(words):
    """As defined, with Python's integers."""
    first = second = 0
    for position, word in enumerate(words.tolist()):
        first += word * (mixed(position) | 1)
        second += mixed(word) * (mixed(position ^ 0xFFFFFFFF) | 1)
    return f"{first % 2**32:08x}{second % 2**32:08x}"


@pytest.mark.parametrize("dtype", ["float32", "int32", "bfloat16", "int8", "uint16"])
def test_equals_the_definition(dtype):
    array = jnp.asarray(100 * ROWS.reshape(3, 4, 5), dtype)
    bits = np.asarray(array).view(f"uint{8 * array.dtype.itemsize}").ravel()
    assert of(array) == by_loops(bits)
    assert of(array > 0) == by_loops(np.asarray(array > 0).astype(np.uint32).ravel())


def test_names_every_leaf():
    assert list(checksum.of_state({"params": {"kernel": jnp.ones(2)}, "step": jnp.int32(3)})) == [
        "params/kernel",
        "step",
    ]


@pytest.mark.parametrize("devices", [1, 3, 4])
def test_is_the_same_on_any_devices_and_with_rows_of_padding(devices):
    mesh = meshes.data_mesh(jax.devices()[:devices])
    for padding in (0, 12):
        rows = np.pad(ROWS, ((0, padding), (0, 0)))
        placed = jax.device_put(rows, NamedSharding(mesh, PartitionSpec("data")))
        assert checksum.of_state({"a": placed})["a"] == of(ROWS)


def test_every_flipped_bit_is_noticed():
    expected = of(ROWS)
    flipped = np.tile(ROWS.view(np.uint32), (32, 1, 1))
    flipped ^= np.uint32(1) << np.arange(32, dtype=np.uint32)[:, None, None]
    for element in [(0, 0), (5, 2), (11, 4)]:
        for bit in range(32):
            changed = ROWS.view(np.uint32).copy()
            changed[element] = flipped[bit][element]
            assert of(changed.view(np.float32)) != expected


def test_exchanged_negated_and_moved_elements_are_noticed():
    expected = of(ROWS)
    exchanged, negated = ROWS.copy(), ROWS.copy()
    exchanged[[0, 7]] = exchanged[[7, 0]]
    negated[:2] *= -1
    for changed in (exchanged, negated, -ROWS, np.roll(ROWS, 1), np.zeros_like(ROWS)):
        assert of(changed) != expected


def test_an_array_of_the_host():
    table = np.arange(6, dtype=np.int64)
    expected = checksum.of_array(table)
    assert expected == checksum.of_array(table.copy()) != checksum.of_array(table[::-1])
    assert expected not in (checksum.of_array(table.reshape(2, 3)), checksum.of_array(table.astype(np.int32)))
    assert len(expected) == 16
