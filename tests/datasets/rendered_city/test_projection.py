"""Known points of the world, projected by hand into both views, are where they should be.

The oracle knows only the tables of what stands where and school geometry: a tile looks straight down, a panorama
sees a point at its azimuth and at the elevation of its height over its distance.
"""

import numpy as np
import pytest

from vigor_jax.datasets.rendered_city import render_panoramas, render_tiles
from vigor_jax.datasets.rendered_city.region import get_region
from vigor_jax.datasets.rendered_city.style import BLOCK, COURT, ELL
from vigor_jax.geometry import tile_offset

SIZE = 160
EYE = 2.5


@pytest.fixture(scope="module")
def world(small_city):
    """Lots with their boxes as NumPy arrays, and the cameras, all in metres of the city frame."""
    lots = get_region(small_city.city, (0, 0), 1.0).lots
    boxes = [np.stack([np.asarray(c) for c in box], axis=-1) for box in (lots.main, lots.wing)]
    rect = np.stack([np.asarray(c) for c in (lots.u0, lots.u1, lots.v0, lots.v1)], axis=-1)
    cameras = np.stack(
        small_city.city.to_frame(small_city.layout.panorama_lat, small_city.layout.panorama_lon), axis=-1
    )
    return {
        "kind": np.asarray(lots.kind),
        "ground": np.asarray(lots.ground),
        "rise": np.asarray(lots.rise),
        "roof": np.asarray(lots.roof),
        "rect": rect,
        "main": boxes[0],
        "boxes": np.concatenate([box[box[:, 4] > 0] for box in boxes]),
        "cameras": cameras,
    }


def rgb(code):
    return np.array([code >> 16 & 255, code >> 8 & 255, code & 255], np.float64)


def chroma(colour):
    """Colour without brightness, so that light and shadow drop out."""
    colour = np.asarray(colour, np.float64)
    return colour / np.maximum(colour.sum(axis=-1, keepdims=True), 1e-6)


def blocked(camera, point, boxes):
    """Whether any box but those at the point itself stands on the line between camera and point."""
    steps = camera + (point - camera) * np.linspace(0.02, 0.97, 120)[:, None]
    inside = (
        (steps[:, None, 0] > boxes[:, 0])
        & (steps[:, None, 0] < boxes[:, 1])
        & (steps[:, None, 1] > boxes[:, 2])
        & (steps[:, None, 1] < boxes[:, 3])
    )
    return inside.any()


def panorama_pixel(city, camera, point, height):
    """(row, column) at which a panorama of SIZE rows sees a point of the city frame at a height above ground."""
    du, dv = point - camera
    cos, sin = np.cos(city.orientation), np.sin(city.orientation)
    east, north = du * cos - dv * sin, du * sin + dv * cos
    azimuth, elevation = np.arctan2(east, north), np.arctan2(height - EYE, np.hypot(east, north))
    return (0.5 - elevation / np.pi) * SIZE - 0.5, (azimuth / (2 * np.pi) + 0.5) * 2 * SIZE - 0.5


def test_courts_have_their_colour_in_both_views(small_city, world, positions_of):
    city, matches, mirrored, above = small_city.city, [], [], []
    courts = np.flatnonzero(world["kind"] == COURT)
    centres = np.stack([world["rect"][courts, :2].mean(axis=1), world["rect"][courts, 2:].mean(axis=1)], axis=-1)
    for court, centre in zip(courts, centres, strict=True):
        apart = np.linalg.norm(world["cameras"] - centre, axis=1)
        for camera_row in np.flatnonzero((apart > 9) & (apart < 24))[:2]:
            camera = world["cameras"][camera_row]
            if len(matches) >= 24 or blocked(camera, centre, world["boxes"]):
                continue
            # A point between the lines, on the near half of the court.
            point = centre + (camera - centre) / np.linalg.norm(camera - centre) * 3.4
            where = [small_city.layout.panorama_lat[[camera_row]], small_city.layout.panorama_lon[[camera_row]]]
            panorama = render_panoramas(city, *where, (SIZE, 2 * SIZE))[0]
            row, column = panorama_pixel(city, camera, point, 0.0)
            expected = chroma(rgb(world["ground"][court]))

            def error(image, row, column, expected=expected):
                row, column = round(row), round(column) % image.shape[1]
                patch = image[row - 1 : row + 2, max(column - 1, 0) : column + 2]
                return np.linalg.norm(chroma(np.median(patch.reshape(-1, 3), axis=0)) - expected)

            matches.append(error(panorama, row, column))
            mirrored.append(error(panorama, row, 2 * SIZE - 1 - column))

            lat, lon = positions_of(city, *point[:, None])
            tile = small_city.layout.references[camera_row, 0]
            tile_lat, tile_lon = small_city.layout.tile_lat[[tile]], small_city.layout.tile_lon[[tile]]
            offset = tile_offset(lat[0], lon[0], tile_lat[0], tile_lon[0])
            row, column = (320 + offset[0]) * SIZE / 640, (320 - offset[1]) * SIZE / 640
            if 2 < row < SIZE - 3 and 2 < column < SIZE - 3:
                above.append(error(render_tiles(city, tile_lat, tile_lon, SIZE)[0], row, column))
    assert len(matches) >= 6
    assert len(above) >= 4
    # Trees and saturation take some; a wrong projection takes nearly all, as the mirror image shows.
    assert np.mean(np.array(matches) < 0.07) > 0.65
    assert np.mean(np.array(above) < 0.07) > 0.65
    assert np.median(mirrored) > 2 * np.median(matches)


def test_roof_edges_rise_to_the_height_of_their_building(small_city, world):
    city, errors = small_city.city, []
    flat = np.flatnonzero(((world["kind"] == BLOCK) | (world["kind"] == ELL)) & (world["main"][:, 4] > 5))
    for camera_row in range(len(world["cameras"])):
        camera = world["cameras"][camera_row]
        box = world["main"][flat]
        # The middle of the wall that faces the camera across v.
        point = np.stack([(box[:, 0] + box[:, 1]) / 2, np.where(camera[1] < box[:, 2], box[:, 2], box[:, 3])], axis=-1)
        outside = (camera[1] < box[:, 2]) | (camera[1] > box[:, 3])
        apart = np.linalg.norm(point - camera, axis=1)
        facing = np.abs(point[:, 1] - camera[1]) > 0.5 * apart
        candidates = np.flatnonzero(outside & facing & (apart > 8) & (apart < 30))
        if not len(candidates) or len(errors) >= 24:
            continue
        chosen = candidates[np.argmin(apart[candidates])]
        if blocked(camera, point[chosen], world["boxes"]):
            continue
        # Nothing higher behind it on the same line.
        beyond = camera + (point[chosen] - camera) * np.linspace(1.05, 12, 600)[:, None]
        over = [
            np.arctan2(b[4] - EYE, np.linalg.norm(p - camera))
            for p in beyond
            for b in world["boxes"][
                (world["boxes"][:, 0] < p[0])
                & (world["boxes"][:, 1] > p[0])
                & (world["boxes"][:, 2] < p[1])
                & (world["boxes"][:, 3] > p[1])
            ]
        ]
        top = box[chosen, 4]
        if max(over, default=-1) > np.arctan2(top - EYE, apart[chosen]):
            continue
        row, column = panorama_pixel(city, camera, point[chosen], top)
        where = [small_city.layout.panorama_lat[[camera_row]], small_city.layout.panorama_lon[[camera_row]]]
        image = render_panoramas(city, *where, (SIZE, 2 * SIZE))[0].astype(np.float64)
        first = max(round(row) - 8, 1)
        profile = image[first : round(row) + 9, round(column) % (2 * SIZE)]
        change = np.abs(np.diff(profile, axis=0)).sum(axis=-1)
        errors.append(first + np.argmax(change) + 0.5 - row)
    assert len(errors) >= 8
    assert np.median(np.abs(errors)) < 1.0
    assert abs(np.median(errors)) < 0.6
