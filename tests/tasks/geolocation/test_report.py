"""The page of a geolocation run; what every page has, test_page.py says."""

import dataclasses
import json
import re
from functools import partial

import pytest

from vigor_jax import geometry, report
from vigor_jax.tasks.geolocation import report as geolocation_report


def geolocation_page(data):
    return partial(geolocation_report.content, data=data)


def read(path):
    """(text, {plot: figure}) of a page."""
    page = path.read_text()
    figures = {
        name: json.loads(figure)
        for name, figure in re.findall(r'<script type="application/json" id="(.*?)-figure">(.*?)</script>', page)
    }
    text = re.sub(r"<[^>]*>", " ", re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL))
    return re.sub(r"\s+", " ", text), figures


def test_distances_map_and_photos_are_there(write_geolocation_run, photo_data, placed_found, tmp_path):
    path = report.write(write_geolocation_run(tmp_path), geolocation_page(photo_data))
    text, figures = read(path)
    assert {"accuracy", "map-test", "epochs-within_25km", "epochs-median_km"} <= set(figures)
    for part in ("Within 25 km 16.7 % chance 0.00 %", "Median error 222 km", "Test, most photographed cell"):
        assert part in text
    assert path.read_text().count("data:image/jpeg") == 6
    # Of the one that was placed best: 0.02 degrees of latitude.
    assert re.search(r"Best 2\.2 km taken .* probability 90\.0 % true cell the same a &lt;b&gt;/12\.jpg", text)
    assert "true cell none" in text


def test_the_table_has_the_shares_of_im2gps(write_geolocation_run, photo_data, placed_found, tmp_path):
    text, _ = read(report.write(write_geolocation_run(tmp_path), geolocation_page(photo_data)))
    true = [(photo_data.lat[row], photo_data.lon[row]) for row in placed_found.row]
    placed = list(zip(placed_found.placed_lat, placed_found.placed_lon, strict=True))
    for limit, told in ((1, "1.0 km"), (25, "25.0 km"), (200, "200 km"), (750, "750 km"), (2500, "2,500 km")):
        cells = []
        for answers in (placed, [(48.1, 11.6)] * 6):
            near = [geometry.great_circle_m(*a, *b) < 1000 * limit for a, b in zip(true, answers, strict=True)]
            cells.append(f"{100 * sum(near) / 6:.1f} %")
        assert f"{told} {' '.join(cells)}" in text


def test_without_findings_the_page_says_so(write_geolocation_run, photo_data, tmp_path):
    (write_geolocation_run(tmp_path) / "findings.npz").unlink()
    text, figures = read(report.write(tmp_path, geolocation_page(photo_data)))
    assert "left no findings.npz" in text
    assert "accuracy" not in figures


def test_nothing_is_fetched_for_the_map(write_geolocation_run, photo_data, tmp_path):
    _, figures = read(report.write(write_geolocation_run(tmp_path), geolocation_page(photo_data)))
    assert [trace["type"] for trace in figures["map-test"]["data"]] == ["scatter"]  # no tiles, no coast from elsewhere
    assert not {"geo", "map", "mapbox"} & set(figures["map-test"]["layout"])


@pytest.mark.parametrize("labels", [0, 3])
def test_the_classes_of_the_data_set_do_not_matter(write_geolocation_run, photo_data, tmp_path, labels):
    """The page is made again with the data as it is on disk, the first time with its labels by cells."""
    cells = tuple(f"cell {k}" for k in range(10))
    relabelled = dataclasses.replace(photo_data, labels=photo_data.labels + labels, class_names=cells)
    pages = [
        report.write(write_geolocation_run(tmp_path), geolocation_page(data)).read_bytes()
        for data in (photo_data, relabelled)
    ]
    assert pages[0] == pages[1]
