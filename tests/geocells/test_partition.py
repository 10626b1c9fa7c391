"""The partition against a plain recursive one that asks the library about every photo and every cell."""

import sys

import numpy as np
import pytest

from vigor_jax.geocells import GeocellError, partition

s2 = pytest.importorskip("s2geometry", reason="the extra `geocells` is not installed")


def divided(cell, photos: list, most: int, deepest: int) -> list[tuple[int, int]]:
    """(id, photos) of the undivided cells in `cell`, child by child along the Hilbert curve."""
    inside = [photo for photo in photos if cell.contains(photo)]
    if len(inside) <= most or cell.level() == deepest:
        return [(cell.id(), len(inside))]
    return [part for child in range(4) for part in divided(cell.child(child), inside, most, deepest)]


def plain_partition(lat, lon, most: int, fewest: int, deepest: int = 30) -> list[tuple[int, int]]:
    photos = [s2.S2CellId(s2.S2LatLng.FromDegrees(*pair)) for pair in zip(lat.tolist(), lon.tolist(), strict=True)]
    faces = [s2.S2CellId.FromFacePosLevel(face, 0, 0) for face in range(6)]
    return [part for face in faces for part in divided(face, photos, most, deepest) if part[1] >= fewest]


@pytest.mark.parametrize(
    ("seed", "most", "fewest", "deepest"),
    [(0, 20, 3, 30), (1, 1, 1, 30), (2, 60, 40, 30), (3, 7, 2, 4), (4, 10_000, 1, 30), (5, 5, 1, 0), (6, 3, 2, 13)],
)
def test_it_is_the_recursive_division(draw_photos, seed, most, fewest, deepest):
    lat, lon = draw_photos(seed, 300)
    cells = partition(lat, lon, most=most, fewest=fewest, deepest=deepest)
    expected = plain_partition(lat, lon, most, fewest, deepest)
    assert list(zip(cells.ids.tolist(), cells.photos.tolist(), strict=True)) == expected
    assert cells.dropped_photos == 300 - sum(photos for _, photos in expected)
    for row in range(len(cells)):
        centre = s2.S2CellId(int(cells.ids[row])).ToLatLng()
        assert (cells.lat[row], cells.lon[row]) == (centre.lat().degrees(), centre.lng().degrees())


def test_the_order_of_the_photos_does_not_matter(draw_photos):
    lat, lon = draw_photos(7, 400)
    order = np.random.default_rng(0).permutation(400)
    first, second = (partition(*rows, most=9, fewest=2) for rows in ((lat, lon), (lat[order], lon[order])))
    assert first.fingerprint == second.fingerprint
    np.testing.assert_array_equal(first.photos, second.photos)


@pytest.mark.parametrize(("deepest", "width_m"), [(30, 0.01), (12, 3_000)])
def test_photos_at_one_point_are_divided_down_to_the_deepest_level(deepest, width_m):
    lat, lon = np.full(100, 48.137), np.full(100, 11.575)
    cells = partition(lat, lon, most=10, fewest=1, deepest=deepest)
    assert cells.photos.tolist() == [100]
    assert s2.S2CellId(int(cells.ids[0])).level() == deepest
    offset = np.hypot(cells.lat[0] - 48.137, (cells.lon[0] - 11.575) * np.cos(np.radians(48.137))) * 111_000
    assert offset < width_m


def test_a_pole_is_one_place_at_every_longitude():
    lon = np.linspace(-180, 180, 40)
    lat = np.where(np.arange(40) % 2, 90.0, -90.0)
    cells = partition(lat, lon, most=5, fewest=1)
    assert sorted(cells.lat.round(6).tolist()) == [-90.0, 90.0]
    assert cells.photos.tolist() == [20, 20]
    # Beside the pole longitudes count: half a degree away are four quadrants.
    around = partition(np.full(40, 89.5), np.linspace(-180, 171, 40), most=12, fewest=1)
    assert len(around) > 2


def test_the_antimeridian_is_one_line():
    lat = np.linspace(-60, 60, 50)
    west, east = (partition(lat, np.full(50, lon), most=4, fewest=1) for lon in (-180.0, 180.0))
    assert west.fingerprint == east.fingerprint
    # Photos on both sides of it share a cell that spans it: the face about (0, 180).
    both = partition(np.zeros(6), np.array([179.9, 179.99, 179.999, -179.9, -179.99, -179.999]), most=6, fewest=6)
    assert both.photos.tolist() == [6]
    np.testing.assert_allclose((both.lat[0], abs(both.lon[0])), (0, 180), atol=1e-9)


def test_no_cell_with_enough_photos_is_said_with_the_fullest(draw_photos):
    lat, lon = draw_photos(8, 200)
    fullest = max(photos for _, photos in plain_partition(lat, lon, 20, 1))
    with pytest.raises(GeocellError, match=rf"holds fewest=20 photos: the fullest holds {fullest} of the 200") as error:
        partition(lat[:200], lon[:200], most=20, fewest=20)
    assert "Lower `fewest`" in str(error.value)


@pytest.mark.parametrize(
    ("lat", "lon"), [(np.nan, 0.0), (0.0, np.nan), (90.001, 0.0), (-91.0, 0.0), (0.0, 200.0), (np.inf, 0.0)]
)
def test_a_position_that_is_none_is_refused_with_its_row(draw_photos, lat, lon):
    lats, lons = draw_photos(9, 30)
    lats[17], lons[17] = lat, lon
    lats[21] = np.nan
    with pytest.raises(GeocellError, match=rf"2 of 30 photos lie nowhere; the first is row 17: latitude {lats[17]}"):
        partition(lats, lons, most=9, fewest=1)


def test_limits_that_contradict_each_other_are_refused(draw_photos):
    lat, lon = draw_photos(10, 10)
    for most, fewest in ((5, 6), (5, 0), (0, 0)):
        with pytest.raises(GeocellError, match=f"fewest={fewest} and most={most}"):
            partition(lat, lon, most=most, fewest=fewest)
    with pytest.raises(GeocellError, match="deepest=31: S2's levels are 0 to 30"):
        partition(lat, lon, most=5, fewest=1, deepest=31)
    with pytest.raises(GeocellError, match="no photos"):
        partition(lat[:0], lon[:0], most=5, fewest=1)


def test_a_missing_library_is_named_with_its_extra(draw_photos, monkeypatch):
    lat, lon = draw_photos(11, 10)
    monkeypatch.setitem(sys.modules, "s2geometry", None)
    with pytest.raises(GeocellError, match=r"s2geometry, which is not installed.*pip install -e .\[geocells\]"):
        partition(lat, lon, most=5, fewest=1)
