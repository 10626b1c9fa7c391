"""Positions and offsets of any size, near the poles and across the antimeridian."""

import warnings

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vigor_jax import geometry

END = 85.05112877980659  # degrees, where Web Mercator's square world ends
# The whole map, with its edges drawn often.
latitudes = st.floats(-END, END) | st.sampled_from([-END, END, 0.0, -0.0, 85.0, -85.0, 5e-324])
longitudes = st.floats(-180, 180) | st.sampled_from([-180.0, 180.0, 179.9999999999, -179.9999999999, 0.0])
anything = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.floats()


@given(latitudes, longitudes, st.floats(-1e6, 1e6), st.floats(-1e8, 1e8))
def test_locate_inverts_tile_offset(lat, lon, south, east):
    world = 256 * 2.0**20
    row, _ = geometry.mercator_pixel(lat, lon)
    assume(1 <= row + south <= world - 1)  # still on the map
    placed = geometry.locate(lat, lon, [south, east])
    found = geometry.tile_offset(*placed, lat, lon)
    # A unit in the last place of 180 degrees is 2e-8 px; of a latitude near the map's end, times 1 / cos(lat).
    np.testing.assert_allclose(found[0], south, atol=1e-4)
    around = (found[1] - east) / world  # the short way round
    np.testing.assert_allclose(around, np.round(around), atol=1e-4 / world)
    assert -world / 2 <= found[1] <= world / 2


@given(latitudes, longitudes, anything, anything, st.none() | st.floats(0, 1e6))
def test_locate_places_on_the_globe_whatever_the_offset(lat, lon, south, west, metres_per_px):
    offset = [south, west]
    if metres_per_px is not None:  # times 1 / cos(lat), which is 12 at the map's end, still a number
        assume(max(abs(south), abs(west)) * metres_per_px < 1e300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found_lat, found_lon = geometry.locate(lat, lon, offset, metres_per_px)
    assert -90 <= found_lat <= 90
    assert -180 <= found_lon < 180


@given(latitudes, longitudes, st.floats(-400, 400), st.floats(0.05, 0.3))
def test_the_fixed_resolution_walks_over_the_poles(lat, lon, degrees_south, metres_per_px):
    """Along the meridian, whose point beyond a pole is on the other side of the globe."""
    arc = degrees_south * np.pi / 180 * geometry.EARTH_RADIUS_M / metres_per_px
    found = geometry.locate(lat, lon, [arc, 0.0], metres_per_px)
    angle, meridian = np.radians(lat - degrees_south), np.radians(lon)
    expected = np.array([np.cos(angle) * np.cos(meridian), np.cos(angle) * np.sin(meridian), np.sin(angle)])
    there, around = np.radians(found[0]), np.radians(found[1])
    unit = np.array([np.cos(there) * np.cos(around), np.cos(there) * np.sin(around), np.sin(there)])
    np.testing.assert_allclose(unit, expected, atol=1e-9)


@given(numbers, numbers, numbers, numbers)
def test_a_position_that_is_none_is_refused_and_any_other_has_an_offset(lat, lon, tile_lat, tile_lon):
    sound = all(abs(x) <= END for x in (lat, tile_lat)) and all(abs(x) <= 36_000 for x in (lon, tile_lon))
    if not sound:
        with pytest.raises(ValueError, match=r"latitude|longitude"):
            geometry.tile_offset(lat, lon, tile_lat, tile_lon)
        return
    offset = geometry.tile_offset(lat, lon, tile_lat, tile_lon)
    assert np.isfinite(offset).all()
    assert -(256 * 2.0**20) / 2 <= offset[1] < 256 * 2.0**20 / 2


@given(st.floats(-90, 90), longitudes, st.floats(-90, 90), longitudes)
def test_distances(lat_a, lon_a, lat_b, lon_b):
    distance = geometry.great_circle_m(lat_a, lon_a, lat_b, lon_b)
    assert 0 <= distance <= np.pi * geometry.EARTH_RADIUS_M * (1 + 1e-12)
    assert distance == geometry.great_circle_m(lat_b, lon_b, lat_a, lon_a)
    assert geometry.great_circle_m(lat_a, lon_a, lat_a, lon_a) == 0
    # A whole turn changes nothing but the last digits; near antipodes those weigh most.
    np.testing.assert_allclose(geometry.great_circle_m(lat_a, lon_a + 360, lat_b, lon_b), distance, atol=0.5)


@given(latitudes, longitudes, latitudes, longitudes, latitudes, longitudes)
def test_no_way_is_shorter_than_the_direct_one(lat_a, lon_a, lat_b, lon_b, lat_c, lon_c):
    direct = geometry.great_circle_m(lat_a, lon_a, lat_c, lon_c)
    first = geometry.great_circle_m(lat_a, lon_a, lat_b, lon_b)
    assert direct <= first + geometry.great_circle_m(lat_b, lon_b, lat_c, lon_c) + 0.5


@given(anything, anything, st.sampled_from([1, 320, 640]))
def test_iou_is_that_of_the_two_rectangles(south, west, tile_px):
    """By the corners of the intersection, as for any two rectangles."""
    top, left = max(0.0, south), max(0.0, west)
    bottom, right = min(tile_px, tile_px + south), min(tile_px, tile_px + west)
    shared = max(0.0, bottom - top) * max(0.0, right - left)
    expected = shared / (2 * tile_px**2 - shared)
    iou = geometry.tile_iou([south, west], tile_px)
    assert 0 <= iou <= 1
    np.testing.assert_allclose(iou, expected, atol=1e-12)
