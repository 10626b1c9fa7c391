"""Given cameras stand on open road in both views."""

import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax.datasets.rendered_city import make_city
from vigor_jax.datasets.rendered_city.camera_roads import (
    DISC_RADIUS,
    ROAD_HALF_WIDTH,
    beyond_camera_roads,
    camera_road_raster,
    join_cameras,
)
from vigor_jax.datasets.rendered_city.extent import AERIAL, GROUND
from vigor_jax.datasets.rendered_city.heights import solid_at
from vigor_jax.datasets.rendered_city.region import get_region


def distance_to_segment(p, a, b):
    along = np.clip(np.dot(p - a, b - a) / max(np.dot(b - a, b - a), 1e-9), 0, 1)
    return np.linalg.norm(p - a - along * (b - a))


def test_the_raster_holds_the_distance_to_discs_and_segments():
    cameras = np.array([[0.0, 0.0], [30.0, 12.0], [-200.0, 50.0]])
    raster = camera_road_raster(cameras)
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-18, 45, (60, 2)), cameras[2] + rng.uniform(-15, 15, (30, 2))])
    found = np.asarray(
        beyond_camera_roads(jnp.asarray(raster), points[:, 0].astype(np.float32), points[:, 1].astype(np.float32))
    )
    for point, value in zip(points, found, strict=True):
        disc = min(np.linalg.norm(point - c) for c in cameras) - DISC_RADIUS
        road = distance_to_segment(point, cameras[0], cameras[1]) - ROAD_HALF_WIDTH
        expected = min(disc, road)
        if -4 < expected < 12:
            assert value == pytest.approx(expected, abs=1.2)


def test_neighbours_are_joined_unless_a_third_lies_between():
    cameras = np.array([[0.0, 0.0], [20.0, 0.0], [40.0, 0.0], [40.0, 60.0]])
    assert {tuple(sorted(pair)) for pair in join_cameras(cameras).tolist()} == {(0, 1), (1, 2)}
    assert join_cameras(cameras[:1]).shape == (0, 2)


def test_nothing_stands_around_the_cameras(positions_of):
    plain = make_city("Testbury", 0)
    rng = np.random.default_rng(1)
    u, v = rng.uniform(-300, 300, (2, 150))
    lat, lon = positions_of(plain, u, v)
    city = make_city("Testbury", 0, origin=plain.origin, cameras=np.stack([lat, lon], axis=-1))
    u, v = (x.astype(np.float32) for x in city.to_frame(lat, lon))
    angle, radius = np.meshgrid(np.arange(0, 2 * np.pi, np.pi / 4), [0.0, 2.0, 5.0])
    x = u + (radius * np.cos(angle)).reshape(-1, 1).astype(np.float32)
    y = v + (radius * np.sin(angle)).reshape(-1, 1).astype(np.float32)
    free, before = get_region(city, (0, 0), 1.0).heights, get_region(plain, (0, 0), 1.0).heights
    for view in (AERIAL, GROUND):
        assert (np.asarray(solid_at(free[view], x, y)) == 0).all()
    blocked = (np.asarray(solid_at(before[GROUND], x, y)) != 0).sum()
    assert blocked > 100  # the same places are built on without cameras


def test_impossible_cameras_are_refused():
    with pytest.raises(ValueError, match="cameras must be finite"):
        make_city("Testbury", 0, cameras=np.array([[np.nan, 3.0]]))
    with pytest.raises(ValueError, match=r"shape \(3, 3\)"):
        make_city("Testbury", 0, cameras=np.zeros((3, 3)))
