"""Images depend on where they are and on nothing else, and cities differ."""

import numpy as np

from vigor_jax.datasets.rendered_city import TEST_CITIES, TRAIN_CITIES, make_city, render_panoramas, render_tiles


def test_an_image_does_not_depend_on_its_batch(small_city):
    layout, some = small_city.layout, np.array([17, 3, 40])
    tiles = render_tiles(small_city.city, layout.tile_lat[some], layout.tile_lon[some], 80)
    np.testing.assert_array_equal(tiles, small_city.tiles[some])
    panoramas = render_panoramas(small_city.city, layout.panorama_lat[some], layout.panorama_lon[some], (80, 160))
    np.testing.assert_array_equal(panoramas, small_city.panoramas[some])


def test_the_same_name_and_seed_make_the_same_city(small_city):
    again = make_city("Testbury", 0)
    assert again == small_city.city
    assert hash(again) == hash(small_city.city)
    assert make_city("Testbury", 1) != again
    assert make_city("Testbury", 0, cameras=np.array([[40.0, 3.0]])) != again


def test_shapes_and_an_empty_request(small_city):
    nowhere = np.zeros(0)
    assert render_tiles(small_city.city, nowhere, nowhere, 80).shape == (0, 80, 80, 3)
    assert render_panoramas(small_city.city, nowhere, nowhere, (80, 160)).shape == (0, 80, 160, 3)
    assert small_city.tiles.dtype == np.uint8


def test_regions_meet_without_a_seam(small_city, positions_of):
    """A tile rendered from either side of a region's border shows the same ground."""
    lat, lon = positions_of(small_city.city, np.array([511.99, 512.01]), np.array([40.0, 40.0]))
    west, east = render_tiles(small_city.city, lat, lon, 80).astype(np.float32)
    # The two differ in exposure and noise, so compare their structure.
    correlation = np.corrcoef(west.mean(axis=-1).ravel(), east.mean(axis=-1).ravel())[0, 1]
    assert correlation > 0.97


def test_cities_differ_in_plan_and_palette():
    cities = [make_city(name, 0) for name in TRAIN_CITIES + TEST_CITIES]
    assert len(TRAIN_CITIES) >= 4
    assert len(TEST_CITIES) >= 2
    assert len({c.origin for c in cities}) == len(cities)
    for a, first in enumerate(cities):
        for second in cities[:a]:
            assert abs(first.orientation - second.orientation) > 1e-3
            assert first.style.asphalt != second.style.asphalt
            assert first.style.lot_mix != second.style.lot_mix
        assert 35 <= first.origin[0] <= 50


def test_the_sky_is_above_and_the_street_below(small_city):
    panoramas = small_city.panoramas.astype(np.float32)
    sky, street = panoramas[:, :10], panoramas[:, -10:]
    assert (sky[..., 2].mean(axis=(1, 2)) > street[..., 2].mean(axis=(1, 2))).mean() > 0.95
    assert (sky[..., 2] - sky[..., 0]).mean() > 20
