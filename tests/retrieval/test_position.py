"""Metres and their curve are the authors', and those of a hand's breadth of geometry."""

import numpy as np
import pytest

from vigor_jax import geometry
from vigor_jax.retrieval import EvaluationError
from vigor_jax.retrieval.position import accuracy_curve, position_errors_m, summary


def _authors_errors(reference: dict[str, np.ndarray], metres_per_px: float | None = 0.114) -> np.ndarray:
    names = ("geo_query_lat", "geo_query_lon", "geo_ref_lat", "geo_ref_lon", "geo_offset_px")
    return position_errors_m(*(reference[name] for name in names), metres_per_px)


def test_the_authors_distances(vigor_reference):
    """As far as float64 holds digits of theirs; tests/test_geometry.py explains the bound."""
    ours, theirs = _authors_errors(vigor_reference), vigor_reference["geo_distance_m"]
    rounding = 2.3 * 2.0**-52 * (geometry.EARTH_RADIUS_M / theirs) ** 2
    assert np.all(np.abs(ours / theirs - 1) < np.maximum(1e-5, rounding))
    np.testing.assert_allclose(ours[theirs > 50], theirs[theirs > 50], rtol=1e-5)


def test_the_authors_whole_curve(vigor_reference):
    for errors in (_authors_errors(vigor_reference), vigor_reference["geo_distance_m"]):
        thresholds, share = accuracy_curve(errors)
        np.testing.assert_allclose(thresholds, vigor_reference["geo_thresholds_m"], rtol=1e-12)
        np.testing.assert_allclose(share, vigor_reference["geo_accuracy"], atol=1e-5, rtol=0)


def test_the_true_projection_is_another_result(vigor_reference):
    fixed, mercator = _authors_errors(vigor_reference), _authors_errors(vigor_reference, None)
    assert np.abs(fixed - mercator).max() > 1


def test_the_true_offset_places_the_query_exactly_and_its_negative_twice_as_far():
    rng = np.random.default_rng(0)
    tile_lat, tile_lon = rng.uniform(30, 50, 20), rng.uniform(-120, -70, 20)
    true = rng.uniform(-180, 180, (20, 2))
    lat, lon = geometry.locate(tile_lat, tile_lon, true)
    centre = position_errors_m(lat, lon, tile_lat, tile_lon, np.zeros((20, 2)))
    expected = np.hypot(*true.T) * geometry.metres_per_pixel(tile_lat)
    np.testing.assert_allclose(centre, expected, rtol=3e-3)
    np.testing.assert_allclose(position_errors_m(lat, lon, tile_lat, tile_lon, true), 0, atol=1e-6)
    np.testing.assert_allclose(position_errors_m(lat, lon, tile_lat, tile_lon, -true), 2 * expected, rtol=3e-3)


def test_the_curve_counts_strictly_nearer():
    thresholds = 1.1 ** (np.arange(1, 500) / 5)
    errors = np.concatenate([thresholds[[9, 9, 100]], [0.0, 1e6]])
    found, share = accuracy_curve(errors)
    np.testing.assert_array_equal(found, thresholds)
    np.testing.assert_array_equal(share, [sum(e < t for e in errors) / 5 for t in thresholds])
    assert (share[9], share[10], share[-1]) == (0.2, 0.6, 0.8)


def test_summary_of_a_table_made_by_hand():
    assert summary(np.array([1.0, 5.0, 9.0, 24.0, 26.0, 49.0, 100.0, 26.0])) == {
        "median_m": 25.0,
        "mean_m": 30.0,
        "within_5m": 1 / 8,
        "within_10m": 3 / 8,
        "within_25m": 4 / 8,
        "within_50m": 7 / 8,
    }


def test_an_offset_that_is_not_finite_is_named():
    offsets = np.zeros((4, 2))
    offsets[2, 1] = np.nan
    with pytest.raises(EvaluationError, match=r"1 of 4 predicted offsets.*first rows: 2\."):
        position_errors_m(*np.full((4, 4), 40.0), offsets)


def test_positions_that_are_none_are_refused():
    two, offsets = np.zeros(2), np.zeros((2, 2))
    for tile_lat in (np.array([0.0, np.nan]), np.array([0.0, 89.0])):
        for metres_per_px in (None, 0.114):
            with pytest.raises(EvaluationError, match="a retrieved tile lies nowhere: latitude"):
                position_errors_m(two, two, tile_lat, two, offsets, metres_per_px)
    with pytest.raises(EvaluationError, match="a retrieved tile lies nowhere: longitude inf"):
        position_errors_m(two, two, two, np.array([0.0, np.inf]), offsets)
    with pytest.raises(EvaluationError, match="true position of a query is not a finite number"):
        position_errors_m(two, np.array([0.0, np.nan]), two, two, offsets)
    with pytest.raises(EvaluationError, match="no query was placed"):
        summary(np.zeros(0))
