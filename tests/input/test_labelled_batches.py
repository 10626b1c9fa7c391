"""Batches of labelled images against the same images decoded and cut one by one."""

import dataclasses
import itertools
import threading

import numpy as np
import pytest

from vigor_jax.datasets.image_codec import ImageError, decode, encode_png, resize
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.errors import UserError
from vigor_jax.input import colour_shift, image_crops, labelled_batches
from vigor_jax.input.colour_shift import IMAGENET
from vigor_jax.input.labelled_batches import centre_crops, grid_crops, train_batches, whole_images
from vigor_jax.input.sampling import EpochPlan

SIZE = 6


@pytest.fixture(scope="module")
def data() -> LabelledImages:
    """Thirty lossless images of random pixels and different sizes; every third trains."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(10, 25, (30, 2)).astype(np.int32)
    sizes[:6] = (12, 12)
    rows = np.arange(30)
    return LabelledImages(
        name="tiny",
        names=[f"{i}.png" for i in range(30)],
        labels=rng.integers(0, 4, 30).astype(np.int32),
        class_names=("a", "b", "c", "d"),
        images=[encode_png(rng.integers(0, 256, (*size, 3), np.uint8)) for size in sizes],
        sizes=sizes,
        train=rows[:20],
        validation=rows[20:],
        test=rows[:0],
        fingerprint="tiny",
    )


def start(data, *, first_step=0, host=0, hosts=1, threads=3, plan=None, **changes):
    settings = {
        "crop": 8,
        "scales": (9, 14),
        "mirror": True,
        "colours": IMAGENET,
        "colour_std": 0.1,
        "with_labels": True,
        "seed": 4,
    } | changes
    rows = SIZE // hosts
    return train_batches(
        data,
        plan or EpochPlan(20, seed=4, batch_size=SIZE),
        first_step=first_step,
        host_rows=slice(host * rows, (host + 1) * rows),
        threads=threads,
        **settings,
    )


def take(count, batches):
    found = list(itertools.islice(batches, count))
    batches.close()
    return found


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scales": (8, 8)},
        {"mirror": False, "colours": None},
        {"crop": 12, "scales": (12, 12), "with_labels": False},
    ],
)
def test_training_batches_by_a_loop(data, changes):
    settings = {"crop": 8, "scales": (9, 14), "mirror": True} | changes
    plan = EpochPlan(20, seed=4, batch_size=SIZE)
    for step, batch in enumerate(take(7, start(data, **changes))):
        left_out = {"colour_shift" if "colours" in changes else "", "label" if "with_labels" in changes else ""}
        assert set(batch) == {"image", "label", "colour_shift"} - left_out
        assert {str(array.dtype) for array in batch.values()} <= {"uint8", "int32", "float32"}
        for slot in range(SIZE):
            row = data.train[plan(step)[slot]]
            drawn = image_crops.draw(4, step, slot, scales=settings["scales"], mirror=settings["mirror"])
            expected = np.zeros((settings["crop"], settings["crop"], 3), np.uint8)
            drawn(decode(data.images[row], ""), expected)
            np.testing.assert_array_equal(batch["image"][slot], expected)
            if "label" in batch:
                assert batch["label"][slot] == data.labels[row]
            if "colour_shift" in batch:
                shift = colour_shift.draw(4, step, slot, IMAGENET, 0.1)
                np.testing.assert_array_equal(batch["colour_shift"][slot], shift)


def test_hosts_threads_and_resuming_change_nothing(data):
    whole = take(9, start(data))
    for hosts in (2, 3):
        parts = [take(3, start(data, host=host, hosts=hosts, threads=host + 1)) for host in range(hosts)]
        joined = [{key: np.concatenate([part[i][key] for part in parts]) for key in whole[i]} for i in range(3)]
        assert_equal(joined, whole[:3])
    assert_equal(take(4, start(data, first_step=5, threads=1)), whole[5:])


def test_the_plan_is_asked_once_for_each_batch_and_in_order(data):
    plan, asked = EpochPlan(20, seed=4, batch_size=SIZE), []
    take(4, start(data, first_step=2, threads=8, plan=lambda step: asked.append(step) or plan(step)))
    assert asked == list(range(2, 2 + 4 + 2))


def test_an_image_of_the_crops_size_is_decoded_where_the_batch_lies(data, monkeypatch):
    places = []

    def decode_and_tell(data, name, out=None):
        places.append((out, decode(data, name, out)))
        return places[-1][1]

    monkeypatch.setattr(labelled_batches, "decode", decode_and_tell)
    small = dataclasses.replace(data, train=np.arange(6))
    batches = train_batches(
        small,
        EpochPlan(6, seed=0, batch_size=SIZE),
        crop=12,
        scales=(12, 12),
        mirror=True,
        colours=None,
        colour_std=0.0,
        with_labels=False,
        first_step=0,
        seed=0,
        host_rows=slice(0, SIZE),
        threads=1,
    )
    (batch,) = take(1, batches)
    in_place = [out for out, image in places if image is out and np.shares_memory(out, batch["image"])]
    assert len(in_place) == SIZE


def test_a_broken_image_is_named_and_closing_ends_the_threads(data):
    images = list(data.images)
    images[int(data.train[EpochPlan(20, seed=4, batch_size=SIZE)(1)[2]])] = b""
    before = set(threading.enumerate())
    batches = start(dataclasses.replace(data, images=images))
    next(batches)
    with pytest.raises(ImageError, match=r"\d+\.png: the file is empty"):
        next(batches)
    batches.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)
        assert not thread.is_alive()


def scaled(data, row, side):
    image = decode(data.images[row], "")
    height, width = image.shape[:2]
    shorter = min(height, width)
    return resize(image, (max(side, round(height * side / shorter)), max(side, round(width * side / shorter))))


@pytest.mark.parametrize("hosts", [1, 2])
def test_centre_crops_in_order_and_padded(data, hosts):
    rows = np.random.default_rng(1).permutation(30)[:10]
    share = 4 // hosts
    parts = [
        list(
            centre_crops(
                data, rows, crop=9, scale=11, batch_size=4, host_rows=slice(h * share, (h + 1) * share), threads=2
            )
        )
        for h in range(hosts)
    ]
    batches = [{key: np.concatenate([part[i][key] for part in parts]) for key in parts[0][i]} for i in range(3)]
    assert [batch["image"].shape for batch in batches] == [(4, 9, 9, 3)] * 3
    assert np.concatenate([batch["row"] for batch in batches]).tolist() == [*rows, -1, -1]
    assert not batches[2]["image"][2:].any()
    for index, row in enumerate(rows):
        image = scaled(data, row, 11)
        top, left = (image.shape[0] - 9) // 2, (image.shape[1] - 9) // 2
        found = batches[index // 4]["image"][index % 4]
        np.testing.assert_array_equal(found, image[top : top + 9, left : left + 9])


def test_grid_crops_are_the_grid_of_each_image(data):
    rows = np.arange(20, 27)
    options = {"crop": 9, "scale": 13, "per_side": 3, "batch_size": 4, "host_rows": slice(0, 4), "threads": 2}
    batches = list(grid_crops(data, rows, **options))
    assert [batch["image"].shape for batch in batches] == [(4, 9, 9, 9, 3)] * 2
    for index, row in enumerate(rows):
        expected = image_crops.grid(scaled(data, row, 13), 9, 3)
        np.testing.assert_array_equal(batches[index // 4]["image"][index % 4], expected)
    assert batches[1]["row"].tolist() == [24, 25, 26, -1]


def test_whole_images_come_by_shape_and_each_once(data):
    rows = np.arange(2, 30)
    options = {"scale": 12, "batch_size": 4, "host_rows": slice(0, 4), "threads": 2, "multiple": 4}
    batches = list(whole_images(data, rows, **options))
    seen = [row for batch in batches for row in batch["row"].tolist() if row >= 0]
    assert sorted(seen) == rows.tolist()
    shapes = [batch["image"].shape[1:3] for batch in batches]
    assert shapes == sorted(shapes)
    assert len(shapes) > len(set(shapes)) > 1
    for batch in batches:
        assert (np.array(batch["image"].shape[1:3]) % 4 == 0).all()
        for image, row in zip(batch["image"], batch["row"], strict=True):
            if row < 0:
                assert not image.any()
                continue
            whole = scaled(data, row, 12)
            lost = np.array(whole.shape[:2]) - image.shape[:2]
            assert (lost < 4).all()
            top, left = lost // 2
            np.testing.assert_array_equal(image, whole[top:, left:][: image.shape[0], : image.shape[1]])
    halves = [list(whole_images(data, rows, **(options | {"host_rows": slice(h, h + 2)}))) for h in (0, 2)]
    joined = [
        {key: np.concatenate([half[i][key] for half in halves]) for key in batches[i]} for i in range(len(batches))
    ]
    assert_equal(joined, batches)


def test_scales_that_cannot_be(data):
    options = {"batch_size": 4, "host_rows": slice(0, 4), "threads": 1}
    with pytest.raises(UserError, match="crop of 20 pixels does not fit into an image scaled to 12"):
        centre_crops(data, data.test, crop=20, scale=12, **options)
    with pytest.raises(UserError, match="use at least 32"):
        whole_images(data, data.test, scale=20, **options)
    assert list(centre_crops(data, data.test, crop=8, scale=12, **options)) == []
