"""Each head starts in one direction, the same in both views."""

import numpy as np
import pytest

from vigor_jax.models.compass_heads import aerial_compass_heads, ground_compass_heads


def _grids(rows: int, columns: int, heads: int = 8) -> tuple[np.ndarray, np.ndarray]:
    aerial = aerial_compass_heads(rows, rows, heads).reshape(rows, rows, heads)
    return aerial, ground_compass_heads(rows, columns, heads).reshape(rows, columns, heads)


# row and column of the tile's middle of an edge, and column of the panorama (north in the middle, east to its right)
@pytest.mark.parametrize(
    ("head", "row", "column", "panorama"), [(0, 0, 4, 9), (2, 4, 8, 14), (4, 8, 4, 0), (6, 4, 0, 4)]
)
def test_north_east_south_west(head, row, column, panorama):
    aerial, ground = _grids(9, 19)
    assert aerial[row, column].argmax() == head
    assert ground[0, panorama].argmax() == head


def test_the_centre_belongs_to_all_heads_and_panorama_rows_are_alike():
    aerial, ground = _grids(5, 10)
    np.testing.assert_allclose(aerial[2, 2], 1.0)
    np.testing.assert_array_equal(ground, np.broadcast_to(ground[:1], ground.shape))


def test_a_quarter_turn_of_the_tile_is_a_step_of_two_of_eight_heads():
    aerial, ground = _grids(6, 12)
    # Turned clockwise, what was north is east.
    np.testing.assert_allclose(np.rot90(aerial, -1), np.roll(aerial, -2, axis=-1), atol=1e-6)
    np.testing.assert_allclose(np.roll(ground, 3, axis=1), np.roll(ground, -2, axis=-1), atol=1e-6)
