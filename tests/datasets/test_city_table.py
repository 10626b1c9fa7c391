"""Stored tables are whole and belong together, or an error names the file."""

import dataclasses
import pickle

import numpy as np
import pytest

from vigor_jax.datasets.city_table import CityTable
from vigor_jax.datasets.stored_table import TableError


@pytest.fixture
def table() -> CityTable:
    return CityTable(
        tile_names=("a.png", "b.png", "c.png"),
        tile_lat=np.array([40.0, 40.1, 40.2]),
        tile_lon=np.array([-73.0, -73.1, -73.2]),
        panorama_names=("p.jpg", "q.jpg"),
        panorama_lat=np.array([40.0, 40.1]),
        panorama_lon=np.array([-73.0, -73.1]),
        references=np.array([[0, 1, 2, 0], [1, 0, 2, 2]], np.int32),
        offset_px=np.zeros((2, 4, 2)),
        same_area_test=np.array([True, False]),
    )


def test_what_is_saved_is_read(tmp_path, table):
    table.save(tmp_path / "tables.npz")
    assert CityTable.read(tmp_path / "tables.npz").digest() == table.digest()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("references", np.array([[0, 1, 2, 3], [1, 0, 2, 2]], np.int32), "references name tiles beyond the 3"),
        ("references", np.array([[0, 1, 2, -1], [1, 0, 2, 2]], np.int32), "references name tiles beyond the 3"),
        ("references", np.zeros((2, 4)), r"references is float64 \[2, 4\]"),
        ("tile_lat", np.array([40.0, np.nan, 40.2]), "tile_lat holds numbers that are not finite"),
        ("offset_px", np.full((2, 4, 2), np.inf), "offset_px holds numbers that are not finite"),
        ("tile_lon", np.zeros(2), r"tile_lon is float64 \[2\] of 3 tiles and 2 panoramas"),
        ("panorama_names", np.array("p.jpg"), r"panorama_names is <U5 \[\]"),
    ],
)
def test_tables_that_do_not_belong_together(tmp_path, table, field, value, message):
    path = tmp_path / "tables.npz"
    np.savez(path, **(dataclasses.asdict(table) | {field: value}))
    with pytest.raises(TableError, match=rf"tables\.npz is not what was prepared: {message}"):
        CityTable.read(path)


class Malicious:
    """Pickles as a call that makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return __import__("os").mkdir, (str(self.folder),)


def test_pickled_objects_are_refused_and_not_run(tmp_path, table):
    path = tmp_path / "tables.npz"
    names = np.empty(3, object)
    names[:] = [Malicious(tmp_path / "executed")] * 3
    np.savez(path, **(dataclasses.asdict(table) | {"tile_names": names}))
    with pytest.raises(TableError, match=r"tables\.npz is damaged .*allow_pickle=False"):
        CityTable.read(path)
    path.write_bytes(pickle.dumps(Malicious(tmp_path / "executed")))
    with pytest.raises(TableError, match=r"tables\.npz is damaged"):
        CityTable.read(path)
    assert not (tmp_path / "executed").exists()


def test_a_header_that_claims_more_than_there_is(tmp_path, table):
    path = tmp_path / "tables.npz"
    table.save(path)
    data = path.read_bytes()
    assert data.count(b"'shape': (3,), }  ") == 3
    path.write_bytes(data.replace(b"'shape': (3,), }  ", b"'shape': (9**18,),}", 1))
    with pytest.raises(TableError, match=r"tables\.npz is damaged"):
        CityTable.read(path)


def test_another_compression_is_named(tmp_path, table):
    path = tmp_path / "tables.npz"
    table.save(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 10] = 93  # the method, in the archive's directory
    path.write_bytes(data)
    with pytest.raises(TableError, match=r"tables\.npz is damaged \(That compression method"):
        CityTable.read(path)
