import pytest

from vigor_jax.report import wording


@pytest.mark.parametrize(
    ("distance", "text"),
    [
        (0, "0.0 m"),
        (3.21, "3.2 m"),
        (9.94, "9.9 m"),
        (9.96, "10 m"),
        (999.4, "999 m"),
        (999.6, "1.0 km"),
        (1.2e6, "1,200 km"),
    ],
)
def test_metres(distance, text):
    assert wording.metres(distance).replace("\xa0", " ") == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("top1", "Top-1"),
        ("within_25m", "Within 25 m"),
        ("within_2500km", "Within 2,500 km"),
        ("chance_median_km", "Median error, chance"),
        ("centre_median_m", "Median error, tile centre"),
        ("chance_top5", "Top-5, chance"),
        ("navigation_top1", "Navigation: top-1"),
        ("navigation_within_5m", "Navigation: within 5 m"),
        ("navigation_top1_percent", "Navigation: top-1%"),
        ("pixel_neighbour_top1", "Top-1, pixels"),
        ("pixel_agreement", "Agreement, pixels"),
        ("teacher_top5", "Top-5, teacher"),
        ("top1_of_teacher", "Top1 of teacher"),
        ("mean_class_top1", "Top-1, mean of the classes"),
        ("mean_average_precision", "Mean average precision"),
    ],
)
def test_metrics_in_words(name, text):
    assert wording.metric(name).replace("\xa0", " ") == text


@pytest.mark.parametrize(
    ("name", "number", "text"),
    [
        ("gallery", 20_000.0, "20,000"),
        ("top1", 0.4111, "41.1 %"),
        ("median_m", 21.04, "21 m"),
        ("median_km", 0.25, "250 m"),
        ("median_km", 750, "750 km"),
        ("cross_entropy", 3.14159, "3.142"),
        ("distance", 0.2211, "0.221"),
        ("constant_cosine", 0.4, "0.400"),
    ],
)
def test_values_with_their_units(name, number, text):
    assert wording.value(name, number).replace("\xa0", " ") == text


@pytest.mark.parametrize(
    ("name", "unit"),
    [("median_m", "\xa0m"), ("mean_km", "\xa0km"), ("within_25km", "\xa0%"), ("top1", "\xa0%"), ("distance", "")],
)
def test_units_of_what_is_drawn(name, unit):
    assert wording.unit(name) == unit


@pytest.mark.parametrize(("name", "position"), [("within_1km", True), ("median_km", True), ("top1", False)])
def test_what_says_where(name, position):
    assert wording.is_position(name) == position


@pytest.mark.parametrize(
    ("lat", "lon", "text"),
    [
        (48.13743, 11.57549, "48.1374° N, 11.5755° E"),
        (-33.9, -70.65, "33.9000° S, 70.6500° W"),
        (0.0, 0.0, "0.0000° N, 0.0000° E"),
    ],
)
def test_positions(lat, lon, text):
    assert wording.position(lat, lon) == text
