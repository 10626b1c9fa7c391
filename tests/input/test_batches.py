import dataclasses
import threading
import time
from collections.abc import Iterator

import jax
import numpy as np
import pytest

from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.datasets.image_codec import ImageError, decode, encode_png
from vigor_jax.errors import UserError
from vigor_jax.input import augmentation, semi_positives
from vigor_jax.input import batches as batches_module
from vigor_jax.input.batches import Hybrid, image_batches, train_batches
from vigor_jax.input.device_feed import DeviceFeed
from vigor_jax.input.sampling import BatchPlan, host_rows

SIZE = 8


@pytest.fixture
def rows(tiny_data) -> np.ndarray:
    """A training list that is not simply 0, 1, 2, ..."""
    return np.arange(len(tiny_data.panoramas))[5:110]


@pytest.fixture
def plan(tiny_data, rows) -> BatchPlan:
    panoramas = tiny_data.panoramas
    return BatchPlan(panoramas.references[rows], panoramas.city[rows], seed=4, batch_size=SIZE, one_city=False)


def take(count: int, batches: Iterator) -> list:
    taken = [next(batches) for _ in range(count)]
    batches.close()
    return taken


def start(data, rows, plan, first_step=0, augment=False, host=0, hosts=1, threads=3, for_mining=True, hybrid=None):
    return train_batches(
        data,
        rows,
        plan,
        first_step=first_step,
        augment=augment,
        seed=4,
        host_rows=host_rows(SIZE, host, hosts),
        threads=threads,
        for_mining=for_mining,
        hybrid=hybrid,
    )


def assert_equal_batches(some, others):
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize("augment", [False, True])
def test_batches_are_the_planned_examples_decoded_in_order(tiny_data, rows, plan, augment):
    count = plan.steps_per_epoch + 3  # over the border of an epoch
    for step, batch in enumerate(take(count, start(tiny_data, rows, plan, augment=augment))):
        assert {key: (value.dtype.name, value.shape) for key, value in batch.items()} == {
            "aerial": ("uint8", (SIZE, 8, 8, 3)),
            "ground": ("uint8", (SIZE, 8, 16, 3)),
            "example": ("int32", (SIZE,)),
            "city": ("int32", (SIZE,)),
            "references": ("int32", (SIZE, 4)),
        }
        for slot in range(SIZE):
            panorama = rows[plan(step)[slot]]
            tile = tiny_data.panoramas.references[panorama, 0]
            aerial, ground = decode(tiny_data.aerial[tile], ""), decode(tiny_data.ground[panorama], "")
            if augment:
                drawn = augmentation.draw(4, step, slot)
                aerial, ground = drawn.tile(aerial), drawn.panorama(ground)
            assert batch["example"][slot] == plan(step)[slot]
            assert batch["city"][slot] == tiny_data.panoramas.city[panorama]
            np.testing.assert_array_equal(batch["references"][slot], tiny_data.panoramas.references[panorama])
            np.testing.assert_array_equal(batch["aerial"][slot], aerial)
            np.testing.assert_array_equal(batch["ground"][slot], ground)


@pytest.mark.parametrize("augment", [False, True])
def test_the_hybrid_phase_adds_a_semi_positive_and_the_offset(tiny_data, rows, plan, augment):
    rng = np.random.default_rng(0)
    offset_px = rng.uniform(-150, 150, (len(tiny_data.panoramas), 4, 2))
    offset_px[:, 1:] += rng.choice([-320, 320], (len(tiny_data.panoramas), 3, 2))
    data = dataclasses.replace(tiny_data, panoramas=dataclasses.replace(tiny_data.panoramas, offset_px=offset_px))
    hybrid = Hybrid(first_step=2, drop_uncovering=True)
    plain = take(4, start(data, rows, plan, augment=augment))
    counted = []
    for step, batch in enumerate(take(4, start(data, rows, plan, augment=augment, hybrid=hybrid))):
        assert_equal_batches([{key: batch[key] for key in plain[step]}], [plain[step]])
        if step < 2:
            assert batch.keys() == plain[step].keys()
            continue
        for slot in range(SIZE):
            panorama = rows[plan(step)[slot]]
            drawn = augmentation.draw(4, step, slot) if augment else augmentation.Augmentation(0, mirror=False)
            one = semi_positives.draw(offset_px[panorama], seed=4, step=step, slot=slot, drop_uncovering=True)
            tile = data.panoramas.references[panorama, one.column]
            assert batch["semi_positive_tile"][slot] == tile
            assert batch["semi_positive_counts"][slot] == one.counts
            assert batch["iou_ratio"][slot] == np.float32(one.iou_ratio)
            np.testing.assert_array_equal(batch["semi_positive"][slot], drawn.tile(decode(data.aerial[tile], "")))
            expected = (drawn.offset(offset_px[panorama, 0]) / 320).astype(np.float32)
            np.testing.assert_array_equal(batch["offset"][slot], expected)
            counted.append(one.counts)
    assert len(set(counted)) == 2


@pytest.mark.parametrize(("offsets", "semi_positives"), [(True, False), (False, True)])
def test_a_loss_without_weight_reads_nothing(tiny_data, rows, plan, offsets, semi_positives):
    """The offset loss alone decodes no second tiles; what is left is as with both."""
    hybrid = Hybrid(first_step=0, offsets=offsets, semi_positives=semi_positives)
    aerial = _CountingImages(tiny_data.aerial)
    batches = start(dataclasses.replace(tiny_data, aerial=aerial), rows, plan, augment=True, hybrid=hybrid)
    found = [next(batches)]
    # One for the expected size, one batch handed out, two ahead.
    assert aerial.settled() == 1 + 3 * SIZE * (2 if semi_positives else 1)
    found += take(1, batches)
    whole = take(2, start(tiny_data, rows, plan, augment=True, hybrid=Hybrid(first_step=0)))
    of_semi_positives = {"semi_positive", "semi_positive_tile", "semi_positive_counts", "iou_ratio"}
    left_out = of_semi_positives if offsets else {"offset"}
    for some, every in zip(found, whole, strict=True):
        assert some.keys() == every.keys() - left_out
        assert_equal_batches([some], [{key: every[key] for key in some}])


def test_what_only_mining_reads_is_left_out_of_other_batches(tiny_data, rows, plan):
    hybrid = Hybrid(first_step=1)
    mined = take(2, start(tiny_data, rows, plan, hybrid=hybrid))
    others = take(2, start(tiny_data, rows, plan, hybrid=hybrid, for_mining=False))
    assert mined[0].keys() - others[0].keys() == {"example", "city", "references"}
    assert mined[1].keys() - others[1].keys() == {"example", "city", "references", "semi_positive_tile"}
    assert_equal_batches(
        others, [{key: batch[key] for key in other} for batch, other in zip(mined, others, strict=True)]
    )


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_hosts_together_read_the_global_batch(tiny_data, rows, plan, hosts):
    options = {"augment": True, "hybrid": Hybrid(first_step=1, drop_uncovering=False)}
    whole = take(3, start(tiny_data, rows, plan, **options))
    parts = [take(3, start(tiny_data, rows, plan, **options, host=host, hosts=hosts)) for host in range(hosts)]
    joined = [{key: np.concatenate([part[i][key] for part in parts]) for key in whole[i]} for i in range(3)]
    assert_equal_batches(joined, whole)


def test_starting_at_a_step_goes_on_as_if_never_stopped(tiny_data, rows, plan):
    whole = take(17, start(tiny_data, rows, plan, augment=True))
    resumed = take(6, start(tiny_data, rows, plan, first_step=11, augment=True))
    assert_equal_batches(resumed, whole[11:])


def test_the_number_of_threads_changes_nothing(tiny_data, rows, plan):
    one = take(5, start(tiny_data, rows, plan, threads=1))
    for threads in (0, 40):
        assert_equal_batches(take(5, start(tiny_data, rows, plan, threads=threads)), one)


def test_the_plan_is_asked_once_for_each_batch_in_order_and_by_the_thread_that_takes_them(tiny_data, rows, plan):
    asked = []

    def asking(step):
        asked.append((step, threading.get_ident()))
        return plan(step)

    take(6, start(tiny_data, rows, asking, first_step=3, threads=8))
    assert asked == [(step, threading.get_ident()) for step in range(3, 3 + 6 + 2)]


class _CountingImages:
    """Encoded images that remember how many were asked for."""

    def __init__(self, images):
        self._images = images
        self._lock = threading.Lock()
        self.reads = 0

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> bytes:
        with self._lock:
            self.reads += 1
        return self._images[row]

    def settled(self) -> int:
        """How many, once no more are."""
        before = -1
        while self.reads != before:
            before = self.reads
            time.sleep(0.1)
        return before


@pytest.mark.parametrize("threads", [3, 40])
def test_reading_ahead_is_bounded(tiny_data, rows, plan, threads):
    ground = _CountingImages(tiny_data.ground)
    batches = start(dataclasses.replace(tiny_data, ground=ground), rows, plan, threads=threads)
    next(batches)
    # One for the expected size, one batch handed out, two ahead.
    assert ground.settled() == 1 + 3 * SIZE
    batches.close()


def test_the_host_holds_three_batches_and_the_devices_two(tiny_data, rows, plan):
    ground = _CountingImages(tiny_data.ground)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    with DeviceFeed(start(dataclasses.replace(tiny_data, ground=ground), rows, plan), mesh) as feed:
        # Two on the device and two behind them; the third of the host is the one on its way, while there is one.
        assert ground.settled() == 1 + 4 * SIZE
        next(feed)
        assert ground.settled() == 1 + 5 * SIZE


def test_images_are_decoded_where_the_batch_lies(tiny_data, rows, plan, monkeypatch):
    places = []

    def decode_and_tell(data, name, out=None):
        places.append(out)
        return decode(data, name, out)

    monkeypatch.setattr(batches_module, "decode", decode_and_tell)
    hybrid = Hybrid(first_step=0, drop_uncovering=False)
    (batch,) = take(1, start(tiny_data, rows, plan, hybrid=hybrid, threads=1))
    for name in ("aerial", "ground", "semi_positive"):
        assert sum(out is not None and np.shares_memory(out, batch[name]) for out in places) == SIZE


def with_image(data: CrossViewData, kind: str, row: int, encoded: bytes) -> CrossViewData:
    images = list(getattr(data, kind))
    images[row] = encoded
    return dataclasses.replace(data, **{kind: images})


def test_a_broken_image_is_named_after_the_batches_before_it(tiny_data, rows, plan):
    panorama = int(rows[plan(2)[3]])
    broken = with_image(tiny_data, "ground", panorama, tiny_data.ground[panorama][:-20])
    batches = start(broken, rows, plan)
    next(batches), next(batches)
    with pytest.raises(ImageError, match=rf"panorama_{panorama}\.png"):
        next(batches)


def test_an_image_of_another_size_is_named(tiny_data, rows, plan):
    panorama = int(rows[plan(1)[3]])
    tile = int(tiny_data.panoramas.references[panorama, 0])
    other = with_image(tiny_data, "aerial", tile, encode_png(np.zeros((8, 12, 3), np.uint8)))
    with pytest.raises(ImageError, match=rf"tile_{tile}\.png has 8 x 12 pixels where tile_\d+\.png has 8 x 8"):
        take(2, start(other, rows, plan))


def test_augmenting_impossible_sizes_is_refused_before_the_first_batch(tiny_data, rows, plan):
    oblong = dataclasses.replace(tiny_data, aerial=tiny_data.ground + tiny_data.ground)
    with pytest.raises(UserError, match=r"config\.batch\.augment"):
        next(start(oblong, rows, plan, augment=True))
    assert next(start(oblong, rows, plan))["aerial"].shape == (SIZE, 8, 16, 3)


def test_closing_ends_the_threads(tiny_data, rows, plan):
    before = set(threading.enumerate())
    batches = start(tiny_data, rows, plan, threads=4)
    next(batches)
    started = set(threading.enumerate()) - before
    assert len(started) == 4
    batches.close()
    for thread in started:
        thread.join(timeout=10)
        assert not thread.is_alive()


@pytest.mark.parametrize(("count", "size"), [(1, 4), (4, 4), (10, 4), (12, 4), (3, 7)])
def test_images_for_evaluation_come_in_order_and_the_last_batch_is_padded(tiny_data, count, size):
    rows = np.random.default_rng(0).permutation(60)[:count]
    names = tiny_data.panoramas.names
    batches = list(image_batches(tiny_data.ground, rows, size, 3, names=names))
    assert [images.shape for images, _ in batches] == [(size, 8, 16, 3)] * -(-count // size)
    assert [valid for _, valid in batches[:-1]] == [size] * (len(batches) - 1)
    together = np.concatenate([images[:valid] for images, valid in batches])
    np.testing.assert_array_equal(together, np.stack([decode(tiny_data.ground[row], "") for row in rows]))
    images, valid = batches[-1]
    assert not images[valid:].any()


def test_no_images_are_no_batches(tiny_data):
    assert list(image_batches(tiny_data.ground, np.zeros(0, int), 4, 3, names=tiny_data.panoramas.names)) == []


def test_a_broken_image_of_an_evaluation_is_named(tiny_data):
    broken = with_image(tiny_data, "aerial", 7, b"")
    with pytest.raises(ImageError, match=r"tile_7\.png"):
        list(image_batches(broken.aerial, np.arange(12), 4, 3, names=broken.tiles.names))
