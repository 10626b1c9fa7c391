import dataclasses

import numpy as np
import pytest

from vigor_jax import geometry
from vigor_jax.report import query_gallery


def ranked(rank, metres):
    count = len(rank)
    return query_gallery.Findings(
        np.arange(count, dtype=np.int32),
        np.zeros((count, 5), np.int32),
        np.array(rank, np.int32),
        np.array(metres, np.float32),
    )


def test_best_between_and_worst():
    found = ranked([0, 3, 0, 9, 1, 9, 2, 4], [5, 1, 2, 1, 1, 8, 1, 1])
    best, between, worst = query_gallery.choose(found, 2)
    assert best.tolist() == [2, 0]
    assert worst.tolist() == [5, 3]
    assert set(between.tolist()) <= {4, 6, 1, 7}
    assert len(between) == 2


def test_the_true_position_is_where_the_labels_say(make_findings, report_data):
    found = make_findings("Chicago", offsets=False)
    for query in range(len(found)):
        panorama = found.panorama[query]
        for column, tile in enumerate(report_data.panoramas.references[panorama]):
            (mark,) = query_gallery.positions(found, query, int(tile), report_data)
            row, across = report_data.panoramas.offset_px[panorama, column]
            assert (mark.kind, mark.row, mark.column) == (
                "true",
                pytest.approx(320 + row, abs=0.1),
                pytest.approx(320 - across, abs=0.1),
            )


def test_the_predicted_position_lies_at_its_offset_on_the_first_tile(make_findings, report_data):
    found = make_findings("Chicago")
    for query in range(len(found)):
        marks = query_gallery.positions(found, query, int(found.top5[query, 0]), report_data)
        (mark,) = [mark for mark in marks if mark.kind == "predicted"]
        row, across = found.offset_px[query]
        assert mark.row == pytest.approx(320 + row, abs=0.1)
        assert mark.column == pytest.approx(320 - across, abs=0.1)


def test_positions_outside_a_tile_are_not_on_it(make_findings, report_data):
    found = make_findings("Chicago")
    tiles = np.flatnonzero(report_data.tiles.city == report_data.cities.index("Chicago"))
    lat, lon = report_data.panoramas.lat[found.panorama[0]], report_data.panoramas.lon[found.panorama[0]]
    seen = set()
    for tile in tiles.tolist():
        away = geometry.tile_offset(lat, lon, report_data.tiles.lat[tile], report_data.tiles.lon[tile])
        inside = bool(np.all(np.abs(away) <= 320))
        kinds = [mark.kind for mark in query_gallery.positions(found, 0, tile, report_data)]
        assert ("true" in kinds) == inside
        seen.add(inside)
    assert seen == {True, False}


def test_each_tile_is_told_by_name_and_relation(make_findings, report_data):
    groups = query_gallery.of_split(make_findings("Chicago"), report_data)
    assert [group.title for group in groups] == ["Best", "Spread evenly between", "Worst"]
    names = list(report_data.panoramas.names)
    for query in (query for group in groups for query in group.queries):
        true, *semi = (report_data.tiles.names[t] for t in report_data.panoramas.references[names.index(query.name)])
        assert [tile.heading for tile in query.tiles] == ["true tile", "1st", "2nd", "3rd", "4th", "5th"]
        assert query.tiles[0].name == true
        for tile in query.tiles:
            assert tile.relation == ("true" if tile.name == true else "semi-positive" if tile.name in semi else "other")


def test_a_tile_of_another_city_is_told(make_findings, report_data):
    found = make_findings("Chicago")
    elsewhere = np.flatnonzero(report_data.tiles.city == report_data.cities.index("Seattle"))[0]
    found = dataclasses.replace(found, top5=np.full_like(found.top5, elsewhere))
    tile = query_gallery.of_split(found, report_data)[0].queries[0].tiles[1]
    assert tile.distance.endswith("km, in Seattle")
    assert all(mark.kind == "predicted" for mark in tile.marks)


def test_the_outcome_in_words(make_findings, report_data):
    found = dataclasses.replace(make_findings("Chicago"), rank=np.ones(24, np.int32))
    outcome = query_gallery.of_split(found, report_data)[0].queries[0].outcome.replace("\xa0", " ")
    best = np.argmin(found.error_m)
    assert outcome.startswith(f"1 tile stands at or above the true one; placed {found.error_m[best]:.1f} m off, ")


def test_a_small_gallery_has_fewer_than_five(make_findings, report_data):
    found = make_findings("Chicago")
    found = dataclasses.replace(found, top5=found.top5[:, :2])
    query = query_gallery.of_split(found, report_data)[0].queries[0]
    assert [tile.heading for tile in query.tiles] == ["true tile", "1st", "2nd"]
