import dataclasses

import numpy as np

from vigor_jax.report import photo_gallery


def test_photos_are_chosen_by_distance_and_of_equal_ones_the_surer(placed_found):
    found = dataclasses.replace(placed_found, error_km=np.array([5.0, 1, 9, 1, 3, 2]))
    best, between, worst = photo_gallery.choose(found, 2)
    assert best.tolist() == [1, 3]  # 0.6 before 0.5
    assert worst.tolist() == [2, 0]
    assert between.tolist() == [5, 4]


def test_each_photo_is_told(placed_found, photo_data):
    groups = photo_gallery.of_split(placed_found, photo_data)
    assert [(group.title, len(group.photos)) for group in groups] == [("Best", 4), ("Worst", 2)]
    best = groups[0].photos
    assert [photo.distance.replace("\xa0", " ") for photo in best] == ["2.2 km", "55.6 km", "111 km", "334 km"]
    assert [photo.name for photo in best] == photo_data.names[12:16]
    assert [photo.probability.replace("\xa0", " ") for photo in best] == ["90.0 %", "60.0 %", "80.0 %", "50.0 %"]
    told = [photo.true_cell.replace("\xa0", " ") for group in groups for photo in group.photos]
    assert told == ["the same", "30.0 %", "the same", "not among the first 2", "none", "the same"]
    lat, lon = photo_data.lat[12], photo_data.lon[12]
    ends = "N" if lat >= 0 else "S", "E" if lon >= 0 else "W"
    assert best[0].true == f"{abs(lat):.4f}° {ends[0]}, {abs(lon):.4f}° {ends[1]}"
    assert best[0].placed == f"{abs(lat + 0.02):.4f}° {ends[0]}, {abs(lon):.4f}° {ends[1]}"
