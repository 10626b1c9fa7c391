import numpy as np
import pytest

from vigor_jax import geometry
from vigor_jax.retrieval import EvaluationError
from vigor_jax.retrieval.geolocation_accuracy import cell_accuracy, geolocation_accuracy


def north_of(lat: float, distance_m: list[float]) -> np.ndarray:
    return lat + np.degrees(np.array(distance_m) / geometry.EARTH_RADIUS_M)


def test_shares_and_median_of_known_distances():
    placed = north_of(10.0, [0, 900, 24_000, 26_000, 190_000, 700_000, 2_400_000, 2_600_000])
    found = geolocation_accuracy(
        np.full(8, 10.0), np.full(8, 20.0), placed, np.full(8, 20.0), chance_lat=10.0, chance_lon=20.1
    )
    shares = {"within_1km": 2 / 8, "within_25km": 3 / 8, "within_200km": 5 / 8, "within_750km": 6 / 8}
    assert {key: found[key] for key in shares} == shares
    assert found["within_2500km"] == 7 / 8
    assert found["median_km"] == pytest.approx((26 + 190) / 2)
    # A tenth of a degree of longitude at latitude 10: 10.95 km.
    assert found["chance_median_km"] == pytest.approx(10.95, abs=0.01)
    assert (found["chance_within_1km"], found["chance_within_25km"]) == (0, 1)


def test_distances_equal_a_loop_over_the_globe():
    rng = np.random.default_rng(0)
    lat, placed_lat = np.degrees(np.arcsin(rng.uniform(-1, 1, (2, 400))))
    lon, placed_lon = rng.uniform(-180, 180, (2, 400))
    found = geolocation_accuracy(lat, lon, placed_lat, placed_lon, chance_lat=0.0, chance_lon=0.0)
    distances, chances = [], []
    for row in range(400):
        a, b, origin = (
            np.array([np.cos(n) * np.cos(e), np.cos(n) * np.sin(e), np.sin(n)])
            for n, e in np.radians([(lat[row], lon[row]), (placed_lat[row], placed_lon[row]), (0.0, 0.0)])
        )
        distances.append(6371.004 * np.arccos(a @ b))
        chances.append(6371.004 * np.arccos(a @ origin))
    for limit in (1, 25, 200, 750, 2500):
        assert found[f"within_{limit}km"] == sum(distance <= limit for distance in distances) / 400
        assert found[f"chance_within_{limit}km"] == sum(distance <= limit for distance in chances) / 400
    assert found["median_km"] == pytest.approx(np.median(distances))


def test_positions_that_are_none_are_refused():
    good, bad = np.zeros(3), np.array([0.0, np.nan, 91.0])
    chance = {"chance_lat": 0.0, "chance_lon": 0.0}
    with pytest.raises(EvaluationError, match="2 of 3 predicted positions are none; the first is row 1: latitude nan"):
        geolocation_accuracy(good, good, bad, good, **chance)
    with pytest.raises(EvaluationError, match="1 of 3 true positions"):
        geolocation_accuracy(good, np.array([0.0, 0.0, 181.0]), good, good, **chance)
    with pytest.raises(EvaluationError, match="no photo"):
        geolocation_accuracy(good[:0], good[:0], good[:0], good[:0], **chance)


def test_a_photo_in_no_cell_is_never_right():
    scores = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 9.0]])
    found = cell_accuracy(np.array([0, 2, 1, -1]), scores, most_frequent=2)
    # Row 0 is right, row 1 third, row 2 tied with all and so third; row 3 answers the last class, which -1 would index.
    assert found == {"top1": 0.25, "top5": 0.75, "covered": 0.75, "chance_top1": 0.25}


def test_cell_accuracy_equals_a_loop():
    rng = np.random.default_rng(1)
    cell, scores = rng.integers(-1, 12, 200), rng.integers(0, 30, (200, 12)).astype(np.float32)
    found = cell_accuracy(cell, scores, most_frequent=4)
    for top in (1, 5):
        right = 0
        for true, row in zip(cell, scores, strict=True):
            ahead = [other for other in range(12) if other != true and row[other] >= row[true]]
            right += true >= 0 and len(ahead) < top
        assert found[f"top{top}"] == right / 200
    assert found["chance_top1"] == sum(true == 4 for true in cell) / 200


def test_photos_and_scores_of_different_partitions_are_refused():
    scores = np.ones((2, 3))
    with pytest.raises(EvaluationError, match="row 1 is of class 3, and the scores are of 3 classes"):
        cell_accuracy(np.array([0, 3]), scores, most_frequent=0)
    with pytest.raises(EvaluationError, match="1 of 2 rows of scores are not finite; the first is row 1"):
        cell_accuracy(np.array([0, 1]), np.array([[1.0, 2.0], [np.inf, 0.0]]), most_frequent=0)
