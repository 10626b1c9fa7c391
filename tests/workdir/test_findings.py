"""What an evaluation found comes back as it was written, or not at all."""

import numpy as np
import pytest

from vigor_jax.workdir import findings
from vigor_jax.workdir.errors import RunFileError

RANDOM = np.random.default_rng(0)
WRITTEN = {
    "cross_area": {"rank": np.arange(24), "top5": RANDOM.integers(60, size=(24, 5)), "error_m": RANDOM.random(24)},
    "validation": {"rank": np.arange(7), "top5": RANDOM.integers(60, size=(7, 5))},
}


def read(workdir):
    return findings.read(workdir, lambda path, split, arrays: findings.chosen(path, split, arrays, ["rank", "top5"]))


@pytest.fixture
def path(tmp_path):
    flat = {f"{split}/{name}": array for split, arrays in WRITTEN.items() for name, array in arrays.items()}
    return findings.write(tmp_path, 7, flat)


def test_the_arrays_of_each_split_come_back(path):
    everything = findings.read(path.parent, lambda path, split, arrays: dict(arrays))
    assert list(everything) == list(WRITTEN)
    for split, arrays in WRITTEN.items():
        assert list(everything[split]) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(everything[split][name], array)
            assert everything[split][name].dtype == array.dtype
    assert list(read(path.parent)["cross_area"]) == ["rank", "top5"]
    with np.load(path) as archive:
        assert archive["step"] == 7


def test_a_run_that_left_none(tmp_path):
    assert read(tmp_path) is None


def test_a_missing_array_is_named(tmp_path):
    findings.write(tmp_path, 7, {"cross_area/error_m": np.zeros(3)})
    with pytest.raises(RunFileError, match="cross_area has no rank, top5"):
        read(tmp_path)


def test_arrays_of_other_lengths_are_named(tmp_path):
    findings.write(tmp_path, 7, {"cross_area/rank": np.zeros(3), "cross_area/top5": np.zeros((4, 5))})
    with pytest.raises(RunFileError, match=r"differ in length: \{'rank': 3, 'top5': 4\}"):
        read(tmp_path)


def test_rows_of_a_larger_table_are_named(path):
    for rows in (np.array([3, 60]), np.array([-1, 3])):
        with pytest.raises(RunFileError, match=r"names (60|-1) as a tile of vigor, which has 60"):
            findings.require_within(path, "cross_area", rows, 60, "tile of vigor")
    findings.require_within(path, "cross_area", np.array([0, 59]), 60, "tile of vigor")


def test_a_damaged_file_is_named(path):
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunFileError, match=r"findings\.npz is damaged"):
        read(path.parent)


def test_damage_anywhere_is_named_or_harmless(path):
    """A flip in each of 16 places: refused, or in a place that says nothing of the findings."""
    whole, expected, answered = path.read_bytes(), read(path.parent), 0
    for place in range(16):
        data = bytearray(whole)
        data[len(data) * place // 16] ^= 0x55
        path.write_bytes(data)
        try:
            found = read(path.parent)
        except RunFileError as error:
            answered += str(path) in str(error)
        else:
            for split, arrays in expected.items():
                for name, array in arrays.items():
                    np.testing.assert_array_equal(found[split][name], array)
            answered += 1
    assert answered == 16


def test_another_compression_is_named(path):
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 10] = 93  # the method, in the archive's directory
    path.write_bytes(data)
    with pytest.raises(RunFileError, match=r"findings\.npz is damaged \(That compression method"):
        read(path.parent)


def test_pickled_findings_are_refused(tmp_path):
    np.savez(tmp_path / "findings.npz", **{"cross_area/rank": np.array([{}], object)})
    with pytest.raises(RunFileError, match="allow_pickle=False"):
        read(tmp_path)
