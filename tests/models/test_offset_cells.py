"""Cells and offsets are each other's inverse, and lie on the tile where they say."""

import re
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vigor_jax import geometry
from vigor_jax.errors import UserError
from vigor_jax.input.augmentation import Augmentation
from vigor_jax.models import offset_cells

_WIDTH = 2 * offset_cells.REACH / 10
_inside = st.floats(-0.6, 0.6)


def _one_hot(cell: int) -> np.ndarray:
    return 50 * np.eye(100, dtype=np.float32)[cell]


@pytest.mark.parametrize("decode", [offset_cells.centre_of_best, offset_cells.expectation])
def test_every_cell_contains_its_centre(decode):
    centres = decode(50 * np.eye(100, dtype=np.float32))
    np.testing.assert_array_equal(offset_cells.cell_of(centres), np.arange(100))
    # All different, a cell's width apart, and centred on the tile.
    assert len({tuple(c) for c in np.round(np.asarray(centres), 4).tolist()}) == 100
    np.testing.assert_allclose(centres.mean(axis=0), 0, atol=1e-6)


def test_the_cells_are_a_map_with_north_up():
    # A panorama north-west of the centre: d0 < 0, d1 > 0; see `geometry.tile_offset`.
    lat, lon = geometry.locate(40.0, -74.0, [-180.0, 180.0])
    assert lat > 40.0
    assert lon < -74.0
    assert offset_cells.cell_of(np.array([-180.0, 180.0]) / 320) == 0
    assert offset_cells.cell_of(np.array([-180.0, -180.0]) / 320) == 9  # north-east
    assert offset_cells.cell_of(np.array([180.0, 180.0]) / 320) == 90  # south-west
    # Against counting pixels on the tile: row 320 + d0, column 320 - d1, the first cell from pixel 128 on.
    for d0, d1 in np.random.default_rng(0).uniform(-190, 190, (50, 2)):
        row, column = int((320 + d0 - 128) // 38.4), int((320 - d1 - 128) // 38.4)
        assert offset_cells.cell_of(np.array([d0, d1]) / 320) == 10 * row + column


@settings(deadline=None)
@given(st.tuples(_inside, _inside))
def test_the_centre_of_the_true_cell_is_at_most_half_a_cell_away(offset):
    offset = np.array(offset)
    centre = offset_cells.centre_of_best(_one_hot(int(offset_cells.cell_of(offset))))
    assert np.abs(centre - offset).max() <= _WIDTH / 2 + 1e-6


def test_edges():
    reach = offset_cells.REACH
    corners = np.array([[-reach, reach], [-reach, -reach], [reach, reach], [reach, -reach]])
    offset_cells.require_covered(corners)
    np.testing.assert_array_equal(offset_cells.cell_of(corners), [0, 9, 90, 99])
    np.testing.assert_array_equal(offset_cells.cell_of(corners * 1.001), -1)
    assert offset_cells.cell_of(np.array([np.nan, 0.0])) == -1
    assert jax.jit(offset_cells.cell_of)(jnp.zeros(2)) == 55  # of the four around the centre: a cell holds its corner


def test_expectation_weighs_the_centres():
    logits = np.full(100, -np.inf, np.float32)
    logits[0], logits[9] = np.log(3.0), 0.0
    np.testing.assert_allclose(offset_cells.expectation(logits), [-0.54, 0.54 * 0.5], rtol=1e-6)
    np.testing.assert_allclose(offset_cells.centre_of_best(logits), [-0.54, 0.54], rtol=1e-6)
    np.testing.assert_allclose(offset_cells.expectation(np.zeros((2, 3, 100), np.float32)), 0, atol=1e-6)


def test_augmented_offsets_stay_covered():
    offsets = np.random.default_rng(1).uniform(-0.6, 0.6, (40, 2))
    for turns in range(4):
        for mirror in (False, True):
            offset_cells.require_covered(Augmentation(turns, mirror).offset(offsets))


def test_an_offset_outside_is_refused_by_name():
    offsets = np.zeros((4, 2))
    offsets[2] = [0.7, 0.1]
    with pytest.raises(UserError, match=re.escape("1 of 4 offsets") + r".*192 px.*\[224\. +32\.\]"):
        offset_cells.require_covered(offsets)
    offsets[1] = np.nan
    with pytest.raises(UserError, match="2 of 4"):
        offset_cells.require_covered(offsets)


def test_the_cells_cover_every_positive_of_the_published_labels(vigor_label_archive):
    """By the true geometry; half a grid step in Seattle is 182 px."""
    largest = {}
    with tarfile.open(vigor_label_archive) as archive:
        for member in archive.getmembers():
            if "same_area_balanced" not in member.name:
                continue
            city = member.name.split("/")[-2]
            rows = [line.split() for line in archive.extractfile(member).read().decode().splitlines()]
            pano = np.array([row[0].rsplit(",", 3)[1:3] for row in rows], np.float64)
            tile = np.array([row[1].removesuffix(".png").split("_")[1:] for row in rows], np.float64)
            offsets = geometry.tile_offset(*pano.T, *tile.T) / 320
            offset_cells.require_covered(offsets)
            largest[city] = max(largest.get(city, 0.0), float(np.abs(offsets).max()) * 320)
    assert {city: round(px) for city, px in largest.items()} == {"Chicago": 164, "NewYork": 161, "Seattle": 181}
