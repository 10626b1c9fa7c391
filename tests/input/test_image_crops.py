"""Crops against explicit loops over pixels, and draws against their distributions."""

import numpy as np
import pytest

from vigor_jax.datasets.image_codec import resize
from vigor_jax.input import image_crops
from vigor_jax.input.image_crops import RandomCrop


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("size", "side"), [((20, 30), 20), ((30, 20), 12), ((9, 15), 16), ((8, 8), 8)])
def test_a_random_crop_by_loops(size, side, mirror):
    image, out = random_image(*size), np.zeros((8, 8, 3), np.uint8)
    crop = RandomCrop(side=side, down=0.7, right=0.4, mirror=mirror)
    crop(image, out)
    height, width = (
        (side, round(side * size[1] / size[0]))
        if size[0] <= size[1]
        else (
            round(side * size[0] / size[1]),
            side,
        )
    )
    scaled = resize(image, (height, width))
    top, left = int(0.7 * (height - 7)), int(0.4 * (width - 7))
    for row in range(8):
        for column in range(8):
            from_column = 7 - column if mirror else column
            assert out[row, column].tolist() == scaled[top + row, left + from_column].tolist()


@pytest.mark.parametrize("mirror", [False, True])
def test_an_image_that_lies_in_its_place_already(mirror):
    image = random_image(8, 8)
    out = image.copy()
    RandomCrop(side=8, down=0.9, right=0.9, mirror=mirror)(out, out)
    np.testing.assert_array_equal(out, image[:, ::-1] if mirror else image)


def test_every_scale_and_place_is_drawn_as_often():
    draws = [image_crops.draw(0, step, slot, scales=(10, 13), mirror=True) for step in range(60) for slot in range(20)]
    count = len(draws)
    for found, values in (
        ([draw.side for draw in draws], range(10, 14)),
        ([draw.corner((10, 14), 8)[0] for draw in draws], range(3)),
        ([draw.corner((10, 14), 8)[1] for draw in draws], range(7)),
        ([draw.mirror for draw in draws], (False, True)),
    ):
        share = 1 / len(values)
        spread = (count * share * (1 - share)) ** 0.5
        for value in values:
            assert abs(found.count(value) - count * share) < 4 * spread
        assert set(found) == set(values)


def test_a_draw_depends_on_seed_step_and_slot_alone():
    def draw(seed, step, slot, **changes):
        return image_crops.draw(seed, step, slot, **({"scales": (256, 512), "mirror": True} | changes))

    first = draw(0, 5, 3)
    assert draw(0, 5, 3) == first
    assert len({draw(0, 5, 3), draw(1, 5, 3), draw(0, 6, 3), draw(0, 5, 4)}) == 4
    still = draw(0, 5, 3, mirror=False)
    assert (still.side, still.down, still.right, still.mirror) == (first.side, first.down, first.right, False)
    assert {draw(0, step, 0, scales=(300, 300)).side for step in range(20)} == {300}


@pytest.mark.parametrize("per_side", [1, 2, 5])
def test_the_grid_by_loops(per_side):
    image = random_image(17, 22)
    crops = image_crops.grid(image, 9, per_side)
    assert crops.shape == (per_side**2, 9, 9, 3)
    index = 0
    for i in range(per_side):
        for j in range(per_side):
            top = round(i * 8 / (per_side - 1)) if per_side > 1 else 4
            left = round(j * 13 / (per_side - 1)) if per_side > 1 else 6
            for row in range(9):
                for column in range(9):
                    assert (crops[index, row, column] == image[top + row, left + column]).all()
            index += 1
    if per_side > 1:  # all four corners are reached
        np.testing.assert_array_equal(crops[-1], image[-9:, -9:])


def test_whole_images_are_cut_to_multiples():
    assert image_crops.whole_size((480, 640), 256, 32) == (256, 320)
    assert image_crops.whole_size((640, 480), 256, 32) == (320, 256)
    assert image_crops.whole_size((480, 640), 256, 1) == (256, 341)
    assert image_crops.whole_size((100, 100), 40, 32) == (32, 32)
    image = random_image(7, 10)
    np.testing.assert_array_equal(image_crops.centre(image, (4, 8)), image[1:5, 1:9])
