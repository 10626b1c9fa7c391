"""The layout follows VIGOR's protocol, checked against the offsets that the trainer computes."""

import numpy as np
import pytest

from vigor_jax.datasets.rendered_city import lay_out, make_city
from vigor_jax.datasets.rendered_city.layout import SPACING_M, can_stand
from vigor_jax.geometry import great_circle_m, tile_offset


def test_the_positive_holds_the_query_in_its_central_half_and_the_four_references_cover_it(small_city):
    layout = small_city.layout
    offsets = tile_offset(
        layout.panorama_lat[:, None],
        layout.panorama_lon[:, None],
        layout.tile_lat[layout.references],
        layout.tile_lon[layout.references],
    )
    assert (np.abs(offsets[:, 0]) <= 160).all()
    assert (np.abs(offsets) <= 320).all()
    assert all(len(set(row)) == 4 for row in layout.references.tolist())
    # No other tile of the grid covers the query.
    for row in range(0, len(layout.references), 17):
        every = tile_offset(layout.panorama_lat[row], layout.panorama_lon[row], layout.tile_lat, layout.tile_lon)
        covering = np.flatnonzero((np.abs(every) <= 320).all(axis=-1))
        assert set(covering) == set(layout.references[row].tolist())


def test_tiles_step_by_half_a_tile_row_zero_in_the_north(small_city):
    layout, side = small_city.layout, small_city.side
    lat, lon = layout.tile_lat.reshape(side, side), layout.tile_lon.reshape(side, side)
    assert (np.diff(lat[:, 0]) < 0).all()
    assert (np.diff(lon[0]) > 0).all()
    down = tile_offset(lat[:-1], lon[:-1], lat[1:], lon[1:])
    np.testing.assert_allclose(down[..., 0], -320 * np.sign(-down[..., 0]), atol=0.01)
    np.testing.assert_allclose(down[..., 1], 0, atol=0.01)
    right = tile_offset(lat[:, :-1], lon[:, :-1], lat[:, 1:], lon[:, 1:])
    np.testing.assert_allclose(np.abs(right[..., 1]), 320, atol=0.01)


def test_tiles_hold_at_most_two_panoramas_and_some_interior_tiles_none():
    empty, interior = 0, 0
    for name in ("Ashford", "Eastholm"):
        side = 18
        layout = lay_out(make_city(name, 0), side)
        counts = np.bincount(layout.references[:, 0], minlength=side * side).reshape(side, side)
        assert counts.max() == 2
        assert counts[0].sum() + counts[-1].sum() + counts[:, 0].sum() + counts[:, -1].sum() == 0
        empty += (counts[1:-1, 1:-1] == 0).sum()
        interior += (side - 2) ** 2
        assert 0.10 < layout.same_area_test.mean() < 0.20
    assert 0.02 < empty / interior < 0.07


def test_panoramas_keep_their_distance_and_stand_in_the_open(small_city):
    layout = small_city.layout
    apart = great_circle_m(
        layout.panorama_lat[:, None], layout.panorama_lon[:, None], layout.panorama_lat, layout.panorama_lon
    )
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > 0.99 * SPACING_M
    assert can_stand(small_city.city, layout.panorama_lat, layout.panorama_lon).all()


def test_the_same_city_is_laid_out_the_same_again(small_city):
    again = lay_out(make_city("Testbury", 0), small_city.side)
    for field in ("tile_lat", "panorama_lat", "panorama_lon", "references", "same_area_test"):
        np.testing.assert_array_equal(getattr(again, field), getattr(small_city.layout, field))


def test_too_few_tiles_are_refused(small_city):
    with pytest.raises(ValueError, match="tiles_per_side = 2"):
        lay_out(small_city.city, 2)
