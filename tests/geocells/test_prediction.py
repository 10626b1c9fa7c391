import numpy as np
import pytest

from vigor_jax import geometry
from vigor_jax.geocells import Cells, GeocellError, cell_id, partition, predicted_position
from vigor_jax.retrieval.geolocation_accuracy import cell_accuracy, geolocation_accuracy


def cells_at(lat: list[float], lon: list[float]) -> Cells:
    """Faces as cells, as many as positions, with centres that are given."""
    faces = np.array([(2 * face + 1) << 60 for face in range(len(lat))], np.uint64)
    assert cell_id.valid(faces).all()
    photos = np.ones(len(lat), np.int64)
    return Cells(faces, np.array(lat), np.array(lon), photos, dropped_photos=0, most=1, fewest=1, deepest=0)


def test_the_most_probable_is_the_first_of_the_highest():
    cells = cells_at([10.0, 20.0, 30.0], [1.0, 2.0, 3.0])
    scores = np.array([[0.1, 0.7, 0.2], [0.4, 0.2, 0.4], [-3.0, -5.0, -1.0]])
    lat, lon = predicted_position(cells, scores, at="most_probable")
    assert lat.tolist() == [20.0, 10.0, 30.0]
    assert lon.tolist() == [2.0, 1.0, 3.0]


def test_the_mean_is_taken_on_the_globe():
    cells = cells_at([0.0, 0.0, 90.0], [170.0, -170.0, 0.0])
    weights = np.array([[0.5, 0.5, 0.0], [2.0, 2.0, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], np.float32)
    lat, lon = predicted_position(cells, weights, at="mean")
    # Over the antimeridian, not through Greenwich; half way up a meridian; at a pole.
    np.testing.assert_allclose(geometry.great_circle_m(lat[:2], lon[:2], 0.0, 180.0), 0, atol=1e-3)
    np.testing.assert_allclose((lat[2], lon[2]), (45.0, 170.0), atol=1e-9)
    np.testing.assert_allclose(lat[3], 90.0)


def test_the_mean_equals_a_loop():
    rng = np.random.default_rng(0)
    cells = cells_at(*(rng.uniform(-80, 80, 6).tolist() for _ in range(2)))
    probabilities = rng.dirichlet(np.ones(6), 5)
    lat, lon = predicted_position(cells, probabilities, at="mean")
    for row in range(5):
        point = np.zeros(3)
        for weight, north, east in zip(probabilities[row], np.radians(cells.lat), np.radians(cells.lon), strict=True):
            point += weight * np.array([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])
        point /= np.linalg.norm(point)
        np.testing.assert_allclose(np.sin(np.radians(lat[row])), point[2], atol=1e-12)
        np.testing.assert_allclose(np.tan(np.radians(lon[row])), point[1] / point[0], atol=1e-9)


def test_a_mean_without_direction_is_the_most_probable():
    cells = cells_at([0.0, 0.0, 50.0], [0.0, 180.0, 7.0])
    lat, lon = predicted_position(cells, np.array([[0.5, 0.5, 0.0]]), at="mean")
    assert (lat.tolist(), lon.tolist()) == ([0.0], [0.0])


def test_what_is_no_probability_is_refused():
    cells = cells_at([0.0, 10.0], [0.0, 10.0])
    with pytest.raises(GeocellError, match="3 probabilities a photo for 2 cells"):
        predicted_position(cells, np.ones((4, 3)), at="mean")
    with pytest.raises(GeocellError, match=r"1 of 2 rows of probabilities are not finite, .* row 1"):
        predicted_position(cells, np.array([[1.0, 0.0], [np.nan, 0.0]]), at="most_probable")
    for row in ([-0.5, 1.5], [0.0, 0.0]):
        with pytest.raises(GeocellError, match=r"negative or all zero.*row 0"):
            predicted_position(cells, np.array([row]), at="mean")


def test_photos_of_dropped_cells_are_errors_of_the_evaluation(draw_photos):
    lat, lon = draw_photos(3, 2000)
    # Towns of twelve photos are cells; a single photo somewhere in the sea is none.
    cells = partition(lat[:1500], lon[:1500], most=40, fewest=12)
    lat, lon = lat[1500:], lon[1500:]
    truth = cells.cell_of(lat, lon)
    dropped = truth == -1
    assert 0.02 < dropped.mean() < 0.5
    knowing = np.full((500, len(cells)), 1e-3)
    knowing[np.flatnonzero(~dropped), truth[~dropped]] = 1
    found = cell_accuracy(truth, knowing, most_frequent=cells.most_frequent)
    # The best possible classifier is wrong exactly there.
    assert found["top1"] == found["covered"] == 1 - dropped.mean()
    assert 0 < found["chance_top1"] == np.mean(truth == cells.most_frequent)
    chance = {"chance_lat": cells.lat[cells.most_frequent], "chance_lon": cells.lon[cells.most_frequent]}
    placed = predicted_position(cells, knowing, at="most_probable")
    with_all = geolocation_accuracy(lat, lon, *placed, **chance)
    without = geolocation_accuracy(*(rows[~dropped] for rows in (lat, lon, *placed)), **chance)
    far = geometry.great_circle_m(lat, lon, *placed) > 2_500_000
    assert far[dropped].any()
    assert with_all["within_2500km"] == 1 - far.mean() < without["within_2500km"]
    assert with_all["within_200km"] > with_all["chance_within_200km"]
