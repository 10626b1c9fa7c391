import numpy as np
import pytest

from vigor_jax import geometry
from vigor_jax.report import kilometre_curve


def test_the_curves_are_the_shares_of_the_photos(placed_found):
    plot = kilometre_curve.of_splits({"test": placed_found})
    placed, chance = plot.figure.data
    assert (placed.name, chance.name) == ("Test, placed", "Test, most photographed cell")
    assert (placed.x[0], placed.x[-1]) == pytest.approx((100, 20_000_000))
    for trace, distances in ((placed, placed_found.error_km), (chance, placed_found.chance_km)):
        for x, y in zip(trace.x, trace.y, strict=True):
            assert y == pytest.approx(100 * sum(1000 * d < x for d in distances) / 6)
    assert placed.y[-1] == 100
    assert plot.note == ""


def test_nothing_lies_further_off_than_the_other_side_of_the_globe():
    antipodes = geometry.great_circle_m(0, 0, 0, 180)
    assert kilometre_curve.THRESHOLDS_M[-1] == pytest.approx(antipodes, rel=2e-3)
    assert np.all(np.diff(kilometre_curve.THRESHOLDS_M) > 0)
