"""The search around a noisy position is that of a loop over all tiles, on any number of devices."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from vigor_jax import geometry
from vigor_jax.retrieval import EvaluationError
from vigor_jax.retrieval.assisted_navigation import (
    AssistedRanks,
    assisted_metrics,
    assisted_ranks,
)
from vigor_jax.retrieval.windows import noisy_positions


def _city(lat: float, lon: float, rows: int = 17, columns: int = 19) -> tuple[np.ndarray, np.ndarray]:
    """Tiles 36.5 m apart, about 600 m wide."""
    steps = np.stack(np.mgrid[0:rows, 0:columns], -1).reshape(-1, 2) * 36.5
    return geometry.locate(lat, lon, steps, metres_per_px=1.0)


def _world(queries: int = 21, seed: int = 0) -> dict[str, np.ndarray]:
    """Two cities, one of them across the antimeridian; embeddings of small whole numbers, which tie exactly."""
    rng = np.random.default_rng(seed)
    tile_lat, tile_lon = (
        np.concatenate(part) for part in zip(_city(47.6, -122.3), _city(-17.0, -179.998), strict=True)
    )
    order = rng.permutation(len(tile_lat))
    tile_lat, tile_lon = tile_lat[order], tile_lon[order]
    positive = rng.integers(0, len(tile_lat), queries)
    query_lat, query_lon = geometry.locate(tile_lat[positive], tile_lon[positive], rng.uniform(-160, 160, (queries, 2)))
    aerial = rng.integers(-2, 3, (len(tile_lat), 4)).astype(np.float32)
    return {
        # Some like their positive, some like any tile.
        "ground": np.where(rng.random((queries, 1)) < 0.7, aerial[positive], aerial[:queries]),
        "aerial": aerial,
        "references": np.stack([positive, *rng.integers(0, len(tile_lat), (3, queries))], axis=1),
        "query_lat": query_lat,
        "query_lon": query_lon,
        "tile_lat": tile_lat,
        "tile_lon": tile_lon,
    }


def _loop(world: dict[str, np.ndarray], seed: int, window_m: float = 200.0) -> AssistedRanks:
    """Query by query and tile by tile, by the definition."""
    noisy = np.stack(noisy_positions(world["query_lat"], world["query_lon"], seed=seed), axis=1)
    columns = []
    for query, (lat, lon) in enumerate(noisy):
        positive = world["references"][query, 0]
        scores = world["aerial"].astype(np.float64) @ world["ground"][query]
        window, above = [], []
        for tile, (tile_lat, tile_lon) in enumerate(zip(world["tile_lat"], world["tile_lon"], strict=True)):
            # Along a meridian, and along the noisy position's parallel.
            north = geometry.great_circle_m(lat, lon, tile_lat, lon)
            east = geometry.great_circle_m(lat, lon, lat, tile_lon)
            if north <= window_m and east <= window_m:
                window.append(tile)
                if tile != positive and scores[tile] >= scores[positive]:
                    above.append(tile)
        assert positive in window
        best = min(above, key=lambda tile, scores=scores: (-scores[tile], tile)) if above else positive
        columns.append((len(above), len(window), best))
    return AssistedRanks(*np.array(columns).T)


def _assert_equal(found: AssistedRanks, expected: AssistedRanks) -> None:
    for field in ("positive", "window", "top1"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field), err_msg=field)


@pytest.mark.parametrize("seed", range(3))
def test_ranks_are_those_of_a_loop(seed):
    world = _world(seed=seed)
    expected = _loop(world, seed)
    # Worth the name: windows cut at the edges of a city, some queries found and some not.
    assert expected.window.min() < 100 < expected.window.max() <= 121
    assert 0 < np.count_nonzero(expected.positive) < 21
    for query_block in (64, 5):
        _assert_equal(assisted_ranks(**world, seed=seed, query_block=query_block), expected)


@pytest.mark.parametrize("devices", [2, 8])
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_sharded_and_padded_arrays(devices, axis_type):
    world = _world()
    expected = _loop(world, seed=7)
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(axis_type,), devices=jax.devices()[:devices])
    for view in ("ground", "aerial"):
        # Padding that would win, or stop the evaluation, if it were looked at.
        padding = ((0, 3 + -(len(world[view]) + 3) % devices), (0, 0))
        padded = np.pad(world[view], padding, constant_values=np.nan)
        world[view] = jax.device_put(padded, NamedSharding(mesh, P("data")))
    _assert_equal(assisted_ranks(**world, seed=7, query_block=2 * devices + 1), expected)


def test_noise_is_uniform_and_each_querys_own():
    lat, lon = np.full(4000, 60.0), np.full(4000, 10.0)
    noisy = noisy_positions(lat, lon, seed=3)
    north = (noisy[0] - lat) * np.radians(geometry.EARTH_RADIUS_M)
    east = (noisy[1] - lon) * np.radians(geometry.EARTH_RADIUS_M) * np.cos(np.radians(60.0))
    for metres in (north, east):
        assert np.abs(metres).max() <= 100.001
        np.testing.assert_allclose(np.histogram(metres, 5, (-100, 100))[0], 800, atol=100)  # four deviations
    assert abs(np.corrcoef(north, east)[0, 1]) < 0.06
    # The first queries are moved alike, however many follow; another seed moves them elsewhere.
    np.testing.assert_array_equal(np.array(noisy)[:, :7], noisy_positions(lat[:7], lon[:7], seed=3))
    assert not np.isclose(noisy[0][:7], noisy_positions(lat[:7], lon[:7], seed=4)[0], rtol=0, atol=1e-9).any()


def test_a_collapsed_model_finds_nothing():
    world = _world()
    for view in ("ground", "aerial"):
        world[view] = np.full((len(world[view]), 64), 0.125, np.float32)
    found = assisted_ranks(**world, seed=0)
    np.testing.assert_array_equal(found.positive, found.window - 1)
    assert (found.top1 != world["references"][:, 0]).all()


def test_a_tile_alone_in_its_window_is_found():
    lat, lon = np.array([40.0, 50.0]), np.array([10.0, 20.0])
    embeddings = np.eye(2, dtype=np.float32)
    references = np.array([[1], [0]])
    found = assisted_ranks(embeddings, embeddings, references, lat[::-1].copy(), lon[::-1].copy(), lat, lon, seed=0)
    _assert_equal(found, AssistedRanks(np.array([0, 0]), np.array([1, 1]), np.array([1, 0])))


def test_metrics_of_a_table_made_by_hand():
    found = AssistedRanks(np.array([0, 4, 5, 0]), np.array([10, 20, 30, 40]), np.array([1, 0, 2, 2]))
    tile_lat, tile_lon = _city(40.0, -74.0, 1, 3)
    at = np.array([1, 1, 0, 2])
    metrics = assisted_metrics(found, tile_lat[at], tile_lon[at], tile_lat, tile_lon)
    assert (metrics["top1"], metrics["top5"], metrics["window"]) == (0.5, 0.75, 25.0)
    # Exact, one tile beside, two tiles beside, exact.
    np.testing.assert_allclose(metrics["mean_m"], 3 * 36.5 / 4, rtol=1e-5)
    assert (metrics["within_5m"], metrics["within_50m"]) == (0.5, 0.75)
    shifted = assisted_metrics(
        found, tile_lat[at], tile_lon[at], tile_lat, tile_lon, np.full((4, 2), 30.0), metres_per_px=0.1
    )
    np.testing.assert_allclose(shifted["within_5m"], 0.5)
    np.testing.assert_allclose(
        shifted["mean_m"],
        np.mean([np.hypot(3, 3), np.hypot(3, 33.5), np.hypot(3, 76), np.hypot(3, 3)]),
        rtol=0.1,
    )


def test_a_positive_outside_its_window_is_no_result():
    with pytest.raises(EvaluationError, match=r"of 21 queries lie outside the window of \+-60 m"):
        assisted_ranks(**_world(), seed=0, window_m=60.0)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("ground", lambda a: a[:-1], "21 queries have references but only 20"),
        ("aerial", lambda a: a[:-1], r"646 tiles have a position but only 645"),
        ("references", lambda a: a - a[4, 0] - 1, r"the first is query \d+ with reference -\d+ of 0\.\.645"),
        ("ground", lambda a: np.full_like(a, np.nan), "21 of 21 ground embeddings are not finite"),
        ("aerial", lambda a: np.full_like(a, np.inf), "of 646 aerial embeddings are not finite"),
    ],
)
def test_what_cannot_be_ranked_says_why(key, change, message):
    world = _world()
    world[key] = change(world[key])
    with pytest.raises(EvaluationError, match=message):
        assisted_ranks(**world, seed=0)
