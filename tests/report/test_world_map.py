import dataclasses

import numpy as np

from vigor_jax.report import distance_colours, world_map


def test_every_photo_is_a_point_where_it_was_taken_and_of_its_error(placed_found, photo_data):
    plot = world_map.of_split("test", placed_found, photo_data)
    (points,) = plot.figure.data
    np.testing.assert_allclose(points.x, photo_data.lon[12:18], atol=1e-5)
    np.testing.assert_allclose(points.y, photo_data.lat[12:18], atol=1e-5)
    np.testing.assert_allclose(points.marker.color, np.log10(1000 * placed_found.error_km), atol=1e-3)
    assert points.text[0].replace("\xa0", " ") == "a &lt;b>/12.jpg<br>2.2 km off"
    # From 10 km, a decade a colour, as the ticks say.
    axis = plot.figure.layout.coloraxis
    assert (axis.cmin, axis.cmax) == (4, 7)
    assert len(world_map.TICKS) == len(distance_colours.COLOURS) == 4


def test_of_too_many_photos_some_are_drawn_and_the_page_says_so(placed_found, photo_data, monkeypatch):
    monkeypatch.setattr(distance_colours, "MOST_POINTS", 4)
    plot = world_map.of_split("test", placed_found, photo_data)
    np.testing.assert_allclose(plot.figure.data[0].x, photo_data.lon[[12, 14, 16]], atol=1e-5)
    assert plot.note.replace("\xa0", " ").startswith("6 photos, median error ")
    assert "3 of them are drawn" in plot.note


def test_photos_at_their_very_place_are_drawn(placed_found, photo_data):
    exact = dataclasses.replace(placed_found, error_km=np.zeros(6))
    colours = world_map.of_split("test", exact, photo_data).figure.data[0].marker.color
    assert np.isfinite(colours).all()
