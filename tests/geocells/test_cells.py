import dataclasses
import re
import sys

import numpy as np
import pytest

from vigor_jax.geocells import Cells, GeocellError, cell_id, partition

s2 = pytest.importorskip("s2geometry", reason="the extra `geocells` is not installed")


@pytest.fixture(scope="module")
def cells(draw_photos) -> Cells:
    return partition(*draw_photos(0, 500), most=25, fewest=8)


def test_cell_of_asks_every_cell(draw_photos, cells):
    towns, elsewhere = draw_photos(0, 500), draw_photos(99, 100, towns=100)
    lat, lon = (np.concatenate(pair) for pair in zip(towns, elsewhere, strict=True))
    expected = []
    for pair in zip(lat.tolist(), lon.tolist(), strict=True):
        leaf = s2.S2CellId(s2.S2LatLng.FromDegrees(*pair))
        holding = [row for row in range(len(cells)) if s2.S2CellId(int(cells.ids[row])).contains(leaf)]
        expected.append(holding[0] if holding else -1)
    assert cells.cell_of(lat, lon).tolist() == expected
    assert -1 in expected[:500]  # photos of dropped cells
    assert -1 in expected[500:]


def test_the_training_photos_are_where_the_counts_say(draw_photos, cells):
    found = cells.cell_of(*draw_photos(0, 500))
    np.testing.assert_array_equal(np.bincount(found[found >= 0], minlength=len(cells)), cells.photos)
    assert (found == -1).sum() == cells.dropped_photos > 0


def test_each_centre_is_in_its_own_cell(cells):
    np.testing.assert_array_equal(cells.cell_of(cells.lat, cells.lon), np.arange(len(cells)))


def test_the_most_frequent_is_the_first_of_the_fullest(cells):
    counts = cells.photos.tolist()
    assert cells.most_frequent == counts.index(max(counts))


def test_ids_as_integers_are_the_librarys(draw_photos):
    lat, lon = draw_photos(1, 40)
    for pair, level in zip(zip(lat.tolist(), lon.tolist(), strict=True), [*range(31), *range(9)], strict=True):
        leaf = s2.S2CellId(s2.S2LatLng.FromDegrees(*pair))
        cell = leaf.parent(level)
        ids = cell_id.parents(np.array([leaf.id()], np.uint64), level)
        assert ids.tolist() == [cell.id()]
        first, last = cell_id.leaf_span(ids)
        assert (first.tolist(), last.tolist()) == ([cell.range_min().id()], [cell.range_max().id()])
        assert cell_id.token(cell.id()) == cell.ToToken()
        assert cell_id.from_token(cell.ToToken()) == cell.id()
        strange = np.array([cell.id(), cell.id() + 1, cell.id() ^ (1 << 63), 0, 2**64 - 1], np.uint64)
        assert cell_id.valid(strange).tolist() == [s2.S2CellId(int(other)).is_valid() for other in strange]


def test_saved_cells_come_back_without_the_library(cells, tmp_path, monkeypatch):
    path = tmp_path / "cells.json"
    cells.save(path)
    cells.save(path)  # over the first
    monkeypatch.setitem(sys.modules, "s2geometry", None)
    loaded = Cells.load(path)
    for name in ("ids", "lat", "lon", "photos"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(cells, name))
    for name in ("dropped_photos", "most", "fewest", "deepest", "fingerprint"):
        assert getattr(loaded, name) == getattr(cells, name)
    assert [file.name for file in tmp_path.iterdir()] == ["cells.json"]


def test_the_fingerprint_is_of_the_places(draw_photos, cells):
    same = partition(*draw_photos(0, 500), most=25, fewest=8, deepest=29)
    other = partition(*draw_photos(0, 500), most=25, fewest=9)
    assert cells.fingerprint == same.fingerprint
    assert cells.fingerprint != other.fingerprint


def test_a_damaged_file_is_refused(cells, tmp_path):
    path = tmp_path / "cells.json"
    with pytest.raises(GeocellError, match="no such file"):
        Cells.load(path)
    cells.save(path)
    whole = path.read_text()
    first, second = (f'"{cell_id.token(cell)}"' for cell in cells.ids[:2].tolist())
    inner = f'"{s2.S2CellId(int(cells.ids[0])).child(1).ToToken()}"'
    for damaged, message in (
        (whole[: len(whole) // 2], "not a readable file"),
        (whole.replace('"format": 1', '"format": 2'), "format 2; this version reads format 1"),
        (whole.replace('"photos"', '"x"').replace('"most"', '"x"'), "KeyError"),
        (whole.replace(first, "null"), "or damaged: Type"),
        (whole.replace(first, '"not hex"'), "ValueError"),
        (whole.replace(first, '"ffff"'), "not cells of a partition"),
        (whole.replace(second, first), "not cells of a partition"),
        (whole.replace(first, inner), "not those that were saved"),
        (whole.replace(first, '"-1"'), "or damaged: OverflowError"),
        (re.sub(r'(\["\w+", )[-.0-9]+', r"\1NaN", whole, count=1), "a centre lies nowhere"),
        ("[]", "or damaged: TypeError"),
    ):
        path.write_text(damaged)
        with pytest.raises(GeocellError, match=message):
            Cells.load(path)


def test_cells_out_of_order_are_refused(cells):
    with pytest.raises(GeocellError, match="overlap or are out of order"):
        dataclasses.replace(cells, ids=cells.ids[::-1].copy())
