import itertools
from collections import Counter

import numpy as np
import pytest

from vigor_jax.errors import UserError
from vigor_jax.geometry import tile_offset
from vigor_jax.input.augmentation import Augmentation, check_sizes, draw

ALL = [Augmentation(turns, mirror) for turns, mirror in itertools.product(range(4), (False, True))]


def scene(points: np.ndarray, side: int = 65, width: int = 72) -> tuple[np.ndarray, np.ndarray]:
    """Points at (metres east, metres north) drawn into both views, each in its own colour; one pixel is one metre."""
    tile, panorama = np.zeros((side, side, 3), np.uint8), np.zeros((4, width, 3), np.uint8)
    for colour, (east, north) in enumerate(points, start=1):
        tile[side // 2 - north, side // 2 + east] = colour
        bearing = np.degrees(np.arctan2(east, north))
        panorama[:, int(np.floor((bearing / 360 + 0.5) * width)) % width] = colour
    return tile, panorama


def bearings_in_tile(tile: np.ndarray) -> dict[int, float]:
    """Degrees clockwise from up, of each colour as seen from the middle."""
    found = {}
    for row, column in np.argwhere(tile[..., 0]):
        up, right = tile.shape[0] // 2 - row, column - tile.shape[1] // 2
        found[int(tile[row, column, 0])] = np.degrees(np.arctan2(right, up))
    return found


@pytest.mark.parametrize("augmentation", ALL)
def test_points_stay_at_one_bearing_in_both_views(augmentation):
    # Bearings within a column of 5 degrees, away from its edges, so that rounding cannot hide a shift by one column.
    bearings = np.radians([2.5, 47.5, 92.5, 117.5, 182.5, 232.5, 272.5, 337.5])
    points = np.round(30 * np.stack([np.sin(bearings), np.cos(bearings)], 1)).astype(int)
    tile, panorama = scene(points)
    tile, panorama = augmentation.tile(tile), augmentation.panorama(panorama)
    seen = bearings_in_tile(tile)
    assert len(seen) == len(points)
    for colour, bearing in seen.items():
        (column,) = np.flatnonzero(panorama[0, :, 0] == colour)
        centre = ((column + 0.5) / panorama.shape[1] - 0.5) * 360
        assert abs((bearing - centre + 180) % 360 - 180) <= 2.5


def test_a_turn_brings_east_up_and_a_mirror_brings_east_left():
    tile, _ = scene(np.array([[20, 0]]))
    assert bearings_in_tile(Augmentation(1, False).tile(tile))[1] == 0
    assert bearings_in_tile(Augmentation(0, True).tile(tile))[1] == -90


def test_four_quarter_turns_and_two_mirrors_are_the_identity():
    rng = np.random.default_rng(0)
    tile, panorama = rng.integers(0, 256, (8, 8, 3), np.uint8), rng.integers(0, 256, (6, 16, 3), np.uint8)
    offset = rng.normal(size=(5, 2))
    for step, times in ((Augmentation(1, False), 4), (Augmentation(0, True), 2), (Augmentation(3, True), 2)):
        views = tile, panorama, offset
        for _ in range(times):
            views = step.tile(views[0]), step.panorama(views[1]), step.offset(views[2])
        for changed, original in zip(views, (tile, panorama, offset), strict=True):
            np.testing.assert_array_equal(changed, original)


def test_the_eight_augmentations_are_different():
    rng = np.random.default_rng(0)
    tile, panorama = rng.integers(0, 256, (8, 8, 3), np.uint8), rng.integers(0, 256, (6, 16, 3), np.uint8)
    assert len({a.tile(tile).tobytes() for a in ALL}) == 8
    assert len({a.panorama(panorama).tobytes() for a in ALL}) == 8


@pytest.mark.parametrize("augmentation", ALL)
def test_offsets_follow_the_panorama_on_the_tile(augmentation):
    # Mark the panorama's pixel by its offset, change the tile, and read the offset of the mark. Pixel (r, c) has its
    # middle at (r + 0.5, c + 0.5), so half-pixel offsets hit middles exactly.
    for d0, d1 in ((-100.5, 30.5), (12.5, 7.5), (0.5, -200.5)):
        tile = np.zeros((640, 640, 3), np.uint8)
        tile[int(320 + d0 - 0.5), int(320 - d1 - 0.5)] = 255
        ((row, column),) = np.argwhere(augmentation.tile(tile)[..., 0])
        expected = [row + 0.5 - 320, 320 - (column + 0.5)]
        np.testing.assert_array_equal(augmentation.offset(np.array([d0, d1])), expected)


def test_a_turn_of_an_offset_from_real_positions():
    # A panorama north of its tile's centre is left of it after one counter-clockwise turn: d1 > 0.
    offset = tile_offset(47.6002, -122.3, 47.6, -122.3)
    assert offset[0] < 0 == offset[1]
    turned = Augmentation(1, False).offset(offset)
    assert turned[1] > 0 == turned[0]


def test_draws_are_functions_of_seed_step_and_slot_and_all_equally_likely():
    draws = {(s, t, i): draw(s, t, i) for s in range(2) for t in range(40) for i in range(50)}
    assert all(draw(*key) == value for key, value in list(draws.items())[::97])
    counts = Counter(draws.values())
    assert len(counts) == 8
    # 4000 draws: 500 each, standard deviation 21.
    assert all(400 < count < 600 for count in counts.values())
    by_axis = np.array([[[ALL.index(draws[s, t, i]) for i in range(50)] for t in range(40)] for s in range(2)])
    assert (by_axis[0] != by_axis[1]).mean() > 0.8
    assert (by_axis[:, 1:] != by_axis[:, :-1]).mean() > 0.8
    assert (by_axis[:, :, 1:] != by_axis[:, :, :-1]).mean() > 0.8


def test_sizes_that_cannot_turn_are_named():
    check_sizes((80, 80), (80, 160))
    with pytest.raises(UserError, match=r"80 x 96 pixels.*aerial_size square"):
        check_sizes((80, 96), (80, 160))
    with pytest.raises(UserError, match=r"162 pixels wide.*ground_size a multiple of 4"):
        check_sizes((80, 80), (80, 162))
