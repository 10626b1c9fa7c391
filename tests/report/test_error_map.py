import dataclasses

import numpy as np
import pytest

from vigor_jax import geometry
from vigor_jax.report import distance_colours, error_map


def drawn(plot):
    """(east, north, log10 of the error) of every point."""
    traces = plot.figure.data
    return np.concatenate([np.stack([t.x, t.y, t.marker.color], axis=-1) for t in traces if len(t.x)])


def test_every_query_is_a_point_at_its_place_and_of_its_error(make_findings, report_data):
    found = make_findings("Seattle")
    (plot,) = error_map.of_split("validation", found, report_data)
    assert plot.title == "Seattle"
    firsts, others = plot.figure.data
    assert len(firsts.x) == np.sum(found.rank == 0)
    assert len(others.x) == np.sum(found.rank > 0)
    lat, lon = report_data.panoramas.lat[found.panorama], report_data.panoramas.lon[found.panorama]
    points = drawn(plot)
    order = np.argsort(found.rank != 0, kind="stable")
    np.testing.assert_allclose(points[:, 2], np.log10(found.error_m[order]), atol=1e-3)
    # Distances between points are those on the ground.
    for a, b in [(0, 1), (0, 9), (3, 20), (23, 5)]:
        metres = geometry.great_circle_m(lat[order[a]], lon[order[a]], lat[order[b]], lon[order[b]])
        # The authors' sphere is 0.1 % smaller than Web Mercator's.
        assert np.hypot(*(points[a] - points[b])[:2]) == pytest.approx(metres, rel=5e-3, abs=0.2)
    # East is to the right, north is up.
    assert np.argmax(points[:, 0]) == np.argmax(lon[order])
    assert np.argmax(points[:, 1]) == np.argmax(lat[order])


def test_a_map_for_each_city(make_findings, report_data):
    both = [make_findings("Seattle", offsets=False), make_findings("Chicago", offsets=False)]
    names = ("panorama", "top5", "rank", "centre_error_m")
    found = dataclasses.replace(both[0], **{n: np.concatenate([getattr(f, n) for f in both]) for n in names})
    plots = error_map.of_split("same_area", found, report_data)
    assert sorted(plot.title for plot in plots) == ["Chicago", "Seattle"]
    assert [len(drawn(plot)) for plot in plots] == [24, 24]
    assert len({plot.name for plot in plots}) == 2


def test_of_too_many_queries_some_are_drawn_and_the_page_says_so(make_findings, report_data, monkeypatch):
    monkeypatch.setattr(distance_colours, "MOST_POINTS", 10)
    (plot,) = error_map.of_split("validation", make_findings("Seattle"), report_data)
    assert len(drawn(plot)) == 8  # every third
    assert "8 of them are drawn" in plot.note
    assert "24 queries" in plot.note
