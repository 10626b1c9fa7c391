import numpy as np
import pytest

from vigor_jax import geometry
from vigor_jax.input import semi_positives

# The positive, one semi-positive that contains the panorama and two that do not.
OFFSETS = np.array([[40.0, -30.0], [290.0, -30.0], [40.0, 330.0], [-360.0, 340.0]])


def draws(offsets, count=600, **options):
    options = {"seed": 3, "drop_uncovering": False} | options
    return [semi_positives.draw(offsets, step=step, slot=step % 7, **options) for step in range(count)]


def test_each_of_the_three_is_as_likely_and_has_its_own_ratio():
    drawn = draws(OFFSETS)
    counts = np.bincount([one.column for one in drawn], minlength=4)
    assert counts[0] == 0
    np.testing.assert_allclose(counts[1:] / 600, 1 / 3, atol=0.06)
    for one in drawn:
        # o / (2 - o) of the share that two squares at this offset have in common (recipes of VIGOR).
        shared = [np.prod(1 - np.abs(OFFSETS[column]) / 640) for column in (0, one.column)]
        positive, semi_positive = (o / (2 - o) for o in shared)
        assert one.iou_ratio == pytest.approx(semi_positive / positive, rel=1e-12)
        assert one.counts
        assert one.iou_ratio < 1


def test_dropping_draws_only_tiles_that_contain_the_panorama():
    assert {one.column for one in draws(OFFSETS, drop_uncovering=True)} == {1}
    both = OFFSETS.copy()
    both[2, 1] = geometry.TILE_PX / 2  # on the very edge
    drawn = draws(both, drop_uncovering=True)
    assert {one.column for one in drawn} == {1, 2}
    assert all(one.counts for one in drawn)


def test_where_none_contains_the_panorama_the_drawn_one_does_not_count():
    away = OFFSETS.copy()
    away[1, 0] = 320.5
    drawn = draws(away, drop_uncovering=True)
    assert {one.column for one in drawn} == {1, 2, 3}
    assert not any(one.counts for one in drawn)
    assert all(one.counts for one in draws(away))


def test_a_draw_is_a_function_of_seed_step_and_slot():
    def columns(**position):
        position = {"seed": 1, "step": 5, "slot": 2} | position
        return [
            semi_positives.draw(OFFSETS, **(position | {"step": position["step"] + t}), drop_uncovering=False).column
            for t in range(40)
        ]

    assert columns() == columns()
    assert len({tuple(columns(**{key: 9})) for key in ("seed", "step", "slot")} | {tuple(columns())}) == 4
