import tarfile

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigor_jax import geometry

latitudes = st.floats(-84, 84)
longitudes = st.floats(-180, 180, exclude_max=True)
offsets = hnp.arrays(np.float64, 2, elements=st.floats(-900, 900))


def test_signs_north_and_east_of_the_centre_are_negative():
    north_east = geometry.tile_offset(40.7501, -73.9799, 40.75, -73.98)
    assert north_east[0] < 0  # row 320 + d0: above the centre
    assert north_east[1] < 0  # column 320 - d1: right of the centre
    lat, lon = geometry.locate(40.75, -73.98, [-10.0, -10.0])
    assert lat > 40.75
    assert lon > -73.98
    lat, lon = geometry.locate(40.75, -73.98, [-10.0, -10.0], metres_per_px=0.114)
    assert lat > 40.75
    assert lon > -73.98


def test_pixel_of_known_places():
    assert geometry.mercator_pixel(0.0, 0.0, zoom=0) == (128.0, 128.0)
    row, column = geometry.mercator_pixel(85.0511287798066, -180.0, zoom=1)
    assert abs(row) < 1e-6
    assert column == 0.0
    # Explicit formula of the slippy-map convention, at zoom 20.
    lat, lon = np.radians(41.85), np.radians(-87.65)
    world = 256 * 2**20
    expected = (
        world / 2 * (1 - np.log(np.tan(lat) + 1 / np.cos(lat)) / np.pi),
        world * (lon + np.pi) / (2 * np.pi),
    )
    np.testing.assert_allclose(geometry.mercator_pixel(41.85, -87.65), expected, rtol=1e-12)


def test_resolution_of_the_cities():
    # Published resolutions at zoom 20, which round each city to one number.
    for lat, metres in ((40.72, 0.1132), (47.60, 0.1008), (37.76, 0.1181), (41.87, 0.1113)):
        np.testing.assert_allclose(geometry.metres_per_pixel(lat), metres, rtol=3e-3)


@given(latitudes, longitudes, offsets)
def test_locate_inverts_tile_offset(lat, lon, offset):
    found = geometry.tile_offset(*geometry.locate(lat, lon, offset), lat, lon)
    np.testing.assert_allclose(found, offset, atol=1e-4)


@given(latitudes, longitudes, offsets)
def test_a_pixel_measures_metres_per_pixel(lat, lon, offset):
    distance = geometry.great_circle_m(lat, lon, *geometry.locate(lat, lon, offset))
    # Half a tile away the resolution itself has changed a little; the two radii differ by 0.11 %.
    expected = np.hypot(*offset) * geometry.metres_per_pixel(lat)
    np.testing.assert_allclose(distance, expected, rtol=3e-3, atol=1e-3)


@given(latitudes, longitudes, offsets, st.sampled_from([0.08, 0.114, 0.3]))
def test_locate_at_a_fixed_resolution_is_that_many_metres_away(lat, lon, offset, resolution):
    distance = geometry.great_circle_m(lat, lon, *geometry.locate(lat, lon, offset, resolution))
    np.testing.assert_allclose(distance, resolution * np.hypot(*offset), rtol=1e-3, atol=1e-4)


def test_across_the_antimeridian():
    offset = geometry.tile_offset(10.0, 179.99995, 10.0, -179.99995)
    same = geometry.tile_offset(10.0, 9.99995, 10.0, 10.00005)
    np.testing.assert_allclose(offset, same, atol=1e-4)
    assert 0 < offset[1] < 320  # the panorama is a few metres west of the centre
    lat, lon = geometry.locate(10.0, -179.99995, offset)
    np.testing.assert_allclose((lat, lon), (10.0, 179.99995), atol=1e-9)
    lat, lon = geometry.locate(10.0, -179.99995, offset, 0.147)
    assert 179.9 < lon < 180
    assert geometry.great_circle_m(10.0, 179.99995, 10.0, -179.99995) < 15


def test_zoom_and_tile_size_scale_the_pixels():
    at_20 = geometry.tile_offset(47.6, -122.3, 47.6002, -122.2998)
    np.testing.assert_allclose(geometry.tile_offset(47.6, -122.3, 47.6002, -122.2998, zoom=19), at_20 / 2, rtol=1e-6)
    np.testing.assert_allclose(geometry.tile_offset(47.6, -122.3, 47.6002, -122.2998, tile_px=320), at_20 / 2)


def test_iou_equals_counted_pixels():
    rng = np.random.default_rng(0)
    for d0, d1 in rng.integers(-39, 40, size=(20, 2)):
        grid = np.zeros((2, 200, 200), bool)
        grid[0, 80:120, 80:120] = True
        grid[1, 80 + d0 : 120 + d0, 80 + d1 : 120 + d1] = True
        counted = (grid[0] & grid[1]).sum() / (grid[0] | grid[1]).sum()
        np.testing.assert_allclose(geometry.tile_iou([float(d0), float(d1)], tile_px=40), counted)


def test_iou_at_the_published_places():
    np.testing.assert_allclose(geometry.tile_iou([0.0, 0.0]), 1.0)
    np.testing.assert_allclose(geometry.tile_iou([80.0, 80.0]), 0.62, atol=0.005)
    np.testing.assert_allclose(geometry.tile_iou([160.0, 160.0]), 9 / 23)
    np.testing.assert_allclose(geometry.tile_iou([320.0, 320.0]), 1 / 7)
    np.testing.assert_allclose(geometry.tile_iou([[640.0, 0.0], [0.0, 700.0], [-640.0, 900.0]]), 0.0)


@given(offsets)
def test_iou_is_symmetric_and_a_share(offset):
    iou = geometry.tile_iou(offset)
    assert 0 <= iou <= 1
    for mirrored in (-offset, offset * [1, -1], offset[::-1]):
        np.testing.assert_allclose(geometry.tile_iou(mirrored), iou)


def test_iou_of_the_authors(vigor_reference):
    ratio = geometry.tile_iou(vigor_reference["delta_semi_px"]) / geometry.tile_iou(vigor_reference["delta_pos_px"])
    np.testing.assert_allclose(ratio, vigor_reference["iou_ratio"], rtol=1e-5)


@given(latitudes, longitudes, latitudes, longitudes)
def test_great_circle_is_the_angle_between_unit_vectors(lat_a, lon_a, lat_b, lon_b):
    def unit(lat, lon):
        lat, lon = np.radians(lat), np.radians(lon)
        return np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])

    a, b = unit(lat_a, lon_a), unit(lat_b, lon_b)
    angle = np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)
    distance = geometry.great_circle_m(lat_a, lon_a, lat_b, lon_b)
    np.testing.assert_allclose(distance, 6_371_004 * angle, rtol=1e-6, atol=1.0)
    assert distance == geometry.great_circle_m(lat_b, lon_b, lat_a, lon_a)


def test_distances_of_the_authors(vigor_reference):
    ref = vigor_reference
    lat, lon = geometry.locate(ref["geo_ref_lat"], ref["geo_ref_lon"], ref["geo_offset_px"], metres_per_px=0.114)
    ours = geometry.great_circle_m(lat, lon, ref["geo_query_lat"], ref["geo_query_lon"])
    theirs = ref["geo_distance_m"]
    # Their law of cosines takes the arccos of c = sin sin + cos cos cos = 1 - d^2/2R^2. Nine roundings of at most
    # 2^-53 of their terms move c by up to 2.3 * 2^-52, which moves d by that times R^2/d^2 of itself: 1 % at a metre,
    # under 1e-5 beyond 46 m. Where float64 holds five digits of theirs, ours agree to 1e-5.
    rounding = 2.3 * 2.0**-52 * (6_371_004 / theirs) ** 2
    assert (rounding < 1e-5).sum() >= 10
    assert np.all(np.abs(ours / theirs - 1) < np.maximum(1e-5, rounding))
    # Their formula with 11 bits more gives ours at every distance.
    if np.finfo(np.longdouble).eps < 2e-19:
        a, b, c, d = (
            np.radians(np.asarray(x, np.longdouble)) for x in (lat, lon, ref["geo_query_lat"], ref["geo_query_lon"])
        )
        exact = 6_371_004 * np.arccos(np.sin(a) * np.sin(c) + np.cos(a) * np.cos(c) * np.cos(b - d))
        np.testing.assert_allclose(ours[theirs > 5], exact[theirs > 5].astype(np.float64), rtol=1e-6)
    accuracy = (ours[None, :] < ref["geo_thresholds_m"][:, None]).mean(axis=1)
    np.testing.assert_allclose(accuracy, ref["geo_accuracy"], atol=1 / 50 + 1e-9)
    assert (accuracy != ref["geo_accuracy"]).sum() <= 2


def test_shapes_broadcast_and_scalars_stay_scalars():
    assert geometry.tile_offset(40.0, -70.0, 40.0, -70.0).shape == (2,)
    pano_lat = np.full((5, 1), 40.0)
    assert geometry.tile_offset(pano_lat, -70.0, np.full((5, 4), 40.0), -70.0).shape == (5, 4, 2)
    assert geometry.tile_iou(np.zeros((5, 4, 2))).shape == (5, 4)
    assert isinstance(geometry.great_circle_m(1.0, 2.0, 3.0, 4.0), float)
    assert isinstance(geometry.locate(1.0, 2.0, [3.0, 4.0])[1], float)


def test_impossible_input_is_refused():
    with pytest.raises(ValueError, match=r"latitude 89\.0"):
        geometry.tile_offset(89.0, 0.0, 40.0, 0.0)
    with pytest.raises(ValueError, match="latitude nan"):
        geometry.tile_offset(np.nan, 0.0, 40.0, 0.0)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        geometry.tile_iou([1.0, 2.0, 3.0])


def test_file_names_alone_give_the_corrected_labels(vigor_label_archive):
    """Every offset of the three labelled cities against Web Mercator at zoom 20."""
    errors = []
    with tarfile.open(vigor_label_archive) as archive:
        for member in archive.getmembers():
            if "same_area_balanced" not in member.name:
                continue
            rows = [line.split() for line in archive.extractfile(member).read().decode().splitlines()]
            pano = np.array([row[0].rsplit(",", 3)[1:3] for row in rows], np.float64)
            names = np.array(rows)[:, [1, 4, 7, 10]]
            tile = np.array([[n.removesuffix(".png").split("_")[1:] for n in row] for row in names], np.float64)
            published = np.array(rows)[:, [2, 3, 5, 6, 8, 9, 11, 12]].astype(np.float64).reshape(-1, 4, 2)
            ours = geometry.tile_offset(pano[:, :1], pano[:, 1:], tile[..., 0], tile[..., 1])
            errors.append(np.abs(ours - published).reshape(-1))
    errors = np.concatenate(errors)
    assert len(errors) == 2 * 4 * (12_740 + 12_739 + 13_885 + 13_884 + 11_876 + 11_875)
    assert errors.mean() < 2
    assert errors.max() < 5.7
