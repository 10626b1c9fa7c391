import dataclasses

import numpy as np
import pytest

from vigor_jax.report import accuracy_curve, distance_curve


def test_parity_with_the_authors_curve(vigor_reference):
    np.testing.assert_allclose(accuracy_curve.THRESHOLDS_M, vigor_reference["geo_thresholds_m"], rtol=1e-12)
    shares = distance_curve.share_within(vigor_reference["geo_distance_m"], vigor_reference["geo_thresholds_m"])
    np.testing.assert_allclose(shares, vigor_reference["geo_accuracy"], rtol=0, atol=1e-5)


def test_the_curves_are_the_shares_of_the_queries(make_findings):
    found = make_findings("Chicago")
    plot = accuracy_curve.of_splits({"cross_area": found})
    predicted, centre = plot.figure.data
    assert (predicted.name, centre.name) == ("Cross area, predicted", "Cross area, tile centre")
    for trace, distances in ((predicted, found.error_m), (centre, found.centre_error_m)):
        expected = [100 * np.mean([d < limit for d in distances]) for limit in trace.x]
        assert list(trace.y) == pytest.approx(expected)
        assert trace.y[-1] == 100
    assert plot.note == ""


def test_what_lies_beyond_the_last_threshold_is_said(make_findings):
    found = make_findings("Chicago", offsets=False)
    far = found.centre_error_m.copy()
    far[0] = 1e6
    plot = accuracy_curve.of_splits({"cross_area": dataclasses.replace(found, centre_error_m=far)})
    (curve,) = plot.figure.data
    assert curve.x[-1] < 2 * np.sort(far)[-2]  # no long empty stretch to the one at 1,000 km
    assert curve.y[-1] == pytest.approx(100 * 23 / 24)
    assert "missing to 100 %" in plot.note
