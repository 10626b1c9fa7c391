import itertools
import time

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from vigor_jax.input.batches import train_batches
from vigor_jax.input.device_feed import DeviceFeed
from vigor_jax.input.mined_batches import MinedBatchPlan
from vigor_jax.input.pipeline_depth import PLANNED_AHEAD, STEPS_IN_FLIGHT
from vigor_jax.input.sampling import BatchPlan, SamplingError
from vigor_jax.mining.mined_table import MinedTable, MinedTableClosed
from vigor_jax.parallel.mesh import data_mesh

BATCH, K, LAG = 8, 10, 3


def assert_disjoint(batch: np.ndarray, references: np.ndarray) -> None:
    for a, b in itertools.combinations(batch.tolist(), 2):
        assert not set(references[a].tolist()) & set(references[b].tolist()), f"{a} and {b} share a reference"


class Run:
    """A plan with its table, and updates whose feedback is a function of the batch and the step."""

    def __init__(self, references, city, *, batch=BATCH, k=K, lag=LAG, one_city=False, first_step=0, seed=0):
        self.references, self.city, self.k, self.one_city, self.seed = references, city, k, one_city, seed
        self.table = MinedTable(len(city), k, lag, batch)
        self.scheduled = BatchPlan(references, city, seed=seed, batch_size=batch, one_city=one_city)
        self.plan = MinedBatchPlan(
            self.scheduled, references, references[:, 0], city, table=self.table, seed=seed, first_step=first_step
        )

    def update(self, step: int) -> None:
        examples = self.plan(step)
        rng = np.random.default_rng([self.seed, step])
        hardest = np.full((len(examples), self.k), -1)
        for i, example in enumerate(examples.tolist()):
            others = self.references[self.city == self.city[example]] if self.one_city else self.references
            tiles = rng.permutation(np.setdiff1d(others, self.references[example]))[: self.k]
            hardest[i, : len(tiles)] = tiles
        self.table.record(step, examples, hardest)


def test_the_second_half_is_of_the_hardest_tiles_of_the_first(street_grid):
    references, city = street_grid(cities=2, side=20, per_city=400)
    run = Run(references, city, first_step=4)
    positives = references[:, 0]
    mined_slots = 0
    for step in range(160):
        batch = run.plan(step)
        assert_disjoint(batch, references)
        if step < 4:
            np.testing.assert_array_equal(batch, run.scheduled(step))
        else:
            np.testing.assert_array_equal(batch[: BATCH // 2], run.scheduled(step)[: BATCH // 2])
            hardest = [tiles.tolist() for tiles in run.table.hardest(batch[: BATCH // 2].tolist(), step)]
            fallback = run.scheduled(step)[BATCH // 2 :].tolist()
            mined = [e for e in batch[BATCH // 2 :].tolist() if e not in fallback]
            # In the order of the partners that brought them.
            partners = iter(hardest)
            assert all(any(positives[e] in tiles for tiles in partners) for e in mined)
            mined_slots += len(mined)
            if all(set(tiles) & set(positives.tolist()) for tiles in hardest):
                assert len(mined) >= BATCH // 2 - 1
        run.update(step)
    assert mined_slots > 100


class Always(BatchPlan):
    """A table in which the hardest tiles of a panorama never change, and a plan that always has the same batch."""

    def __init__(self, hardest: dict[int, list[int]], batch: list[int]):
        self.steps_per_epoch = 1
        self._hardest = hardest
        self._batch = np.array(batch)

    def hardest(self, queries: list[int], batch_step: int) -> list[np.ndarray]:
        return [np.array(self._hardest[query], int) for query in queries]

    def __call__(self, step: int) -> np.ndarray:
        return self._batch

    def mined(self, references: np.ndarray, steps: int, city: list[int] | None = None) -> list[list[int]]:
        city = np.array(city or [0] * len(references))
        plan = MinedBatchPlan(self, references, references[:, 0], city, table=self, seed=0, first_step=0)
        return [plan(step).tolist() for step in range(steps)]


def test_a_tile_and_its_panorama_are_drawn_at_random_among_all():
    references = np.arange(5 * 4).reshape(5, 4)
    references[4] = references[3]
    # The hardest tiles of 0 are the positive of 2, and that of 3 and 4.
    batches = Always({0: [8, 12]}, batch=[0, 1]).mined(references, 400)
    assert {first for first, _ in batches} == {0}
    shares = np.bincount([second for _, second in batches], minlength=5) / 400
    np.testing.assert_allclose(shares, [0, 0, 0.5, 0.25, 0.25], atol=0.08)


def test_nothing_mined_yet_leaves_the_scheduled_batch(street_grid):
    references, city = street_grid(cities=1, side=20, per_city=200)
    run = Run(references, city)
    for step in range(LAG):
        np.testing.assert_array_equal(run.plan(step), run.scheduled(step))
        run.update(step)


def test_tiles_without_a_panorama_and_overlapping_ones_are_passed_over():
    references = np.arange(12 * 4).reshape(12, 4)
    references[4:6, 3] = references[0, 3]
    # Of the tiles two are nobody's positive, two are those of 4 and 5, which overlap 0, and one fits.
    batches = Always({0: [1, 2, 16, 20, 36]}, batch=[0, 1]).mined(references, 30)
    assert batches == [[0, 9]] * 30


def test_places_that_are_left_are_filled_from_the_batch_and_then_at_random():
    references = np.arange(9 * 4).reshape(9, 4)
    references[4, 3] = references[6, 3]
    # 0 brings 6, which stands in the way of 4; 1 and 2 bring nothing, so 3 and 5 follow.
    assert Always({0: [24], 1: [], 2: []}, batch=[0, 1, 2, 3, 4, 5]).mined(references, 1) == [[0, 1, 2, 6, 3, 5]]
    # 6 stands in the way of 4 here too, and there is one place more: 5, 7 and 8 are what is left for it.
    batches = Always({0: [24], 1: []}, batch=[0, 1, 3, 4]).mined(references, 60)
    assert {tuple(batch) for batch in batches} == {(0, 1, 6, 3)}
    batches = Always({0: [24], 1: []}, batch=[0, 1, 4, 4]).mined(references, 200)
    assert {tuple(batch) for batch in batches} == {(0, 1, 6, last) for last in (2, 3, 5, 7, 8)}
    # Of the cities of 0 and 1 alone: that is 5 or 7.
    batches = Always({0: [24], 1: []}, batch=[0, 1, 4, 4]).mined(references, 60, city=[0, 0, 1, 1, 0, 0, 0, 0, 2])
    assert {tuple(batch) for batch in batches} == {(0, 1, 6, last) for last in (5, 7)}


def test_a_batch_that_the_mined_one_stands_in_the_way_of_is_left_as_it_was():
    # There are four disjoint examples, 0 to 3, and 4, which overlaps 2 and 3.
    references = np.arange(5 * 4).reshape(5, 4)
    references[4, 1:3] = references[2:4, 0]
    assert Always({0: [16], 1: []}, batch=[0, 1, 2, 3]).mined(references, 5) == [[0, 1, 2, 3]] * 5


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_odd_batches_keep_the_larger_half(street_grid, batch):
    references, city = street_grid(cities=1, side=20, per_city=40)
    run = Run(references, city, batch=batch)
    differing = 0
    for step in range(100):
        kept = -(-batch // 2)
        np.testing.assert_array_equal(run.plan(step)[:kept], run.scheduled(step)[:kept])
        assert len(run.plan(step)) == batch
        differing += not np.array_equal(run.plan(step), run.scheduled(step))
        run.update(step)
    assert (differing > 10) == (batch > 1)


def test_batches_of_one_city_stay_so(street_grid):
    references, city = street_grid(cities=3, side=9, per_city=60)
    run = Run(references, city, one_city=True)
    for step in range(100):
        batch = run.plan(step)
        assert len(set(city[batch].tolist())) == 1
        assert_disjoint(batch, references)
        run.update(step)


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(
    references=st.lists(st.lists(st.integers(0, 30), min_size=4, max_size=4), min_size=2, max_size=40),
    batch=st.integers(1, 6),
    seed=st.integers(0, 2**20),
    one_city=st.booleans(),
)
def test_any_batch_is_disjoint_and_full(references, batch, seed, one_city):
    city = np.arange(len(references)) % 2
    references = np.array(references) + 31 * city[:, None]
    try:
        run = Run(references, city, batch=batch, one_city=one_city, seed=seed, lag=1)
    except SamplingError:
        return
    for step in range(12):
        made = run.plan(step)
        assert len(set(made.tolist())) == batch
        assert_disjoint(made, references)
        assert not one_city or len(set(city[made].tolist())) == 1
        run.update(step)


def test_batches_are_the_same_however_often_and_in_whatever_order_they_are_asked_for(street_grid):
    references, city = street_grid(cities=2, side=12, per_city=150)
    run, again, rng = Run(references, city, first_step=5), Run(references, city, first_step=5), np.random.default_rng(0)
    for first in range(0, 60, LAG):
        order = (first + rng.permutation(LAG)).tolist()
        batches = {step: again.plan(step) for step in order}
        for step in range(first, first + LAG):
            np.testing.assert_array_equal(run.plan(step), batches[step])
            run.update(step)
            again.update(step)


@pytest.mark.parametrize("stop", [2, 7, 23])
def test_a_resumed_run_has_the_batches_of_an_unbroken_one(street_grid, stop):
    references, city = street_grid(cities=2, side=12, per_city=150)
    unbroken = Run(references, city, first_step=5)
    for step in range(stop):
        unbroken.update(step)
    resumed = Run(references, city, first_step=5)
    resumed.table.restore(unbroken.table.state())
    for step in range(stop, stop + 20):
        np.testing.assert_array_equal(resumed.plan(step), unbroken.plan(step))
        unbroken.update(step)
        resumed.update(step)


def test_a_closed_table_ends_a_loader_that_waits_for_it(tiny_data):
    references, city = tiny_data.panoramas.references, tiny_data.panoramas.city
    run = Run(references, city, batch=8)
    batches = train_batches(
        tiny_data,
        np.arange(len(city)),
        run.plan,
        first_step=0,
        augment=False,
        seed=0,
        host_rows=slice(0, 8),
        threads=4,
        for_mining=True,
    )
    start = time.monotonic()
    with DeviceFeed(batches, data_mesh()) as feed:
        np.testing.assert_array_equal(next(feed)["example"], run.scheduled(0))
        time.sleep(0.2)  # by now it waits for feedback that never comes
        run.table.close()
        with pytest.raises(MinedTableClosed):
            list(feed)
    assert time.monotonic() - start < 20


class Watched(MinedTable):
    """A table that tells of which steps' batches the plan asked for feedback, and of which it had to wait for it."""

    def __init__(self, queries: int, lag: int):
        super().__init__(queries, K, lag, BATCH)
        self.lag, self.waited, self.newest_asked = lag, [], -1

    def hardest(self, queries, batch_step):
        if self.recorded <= batch_step - self.lag:
            self.waited.append(batch_step)
        self.newest_asked = batch_step
        return super().hardest(queries, batch_step)


def steps_whose_plan_waited(data, lag: int) -> list[int]:
    """In a loop whose devices are as far behind the host, and whose reading is as far ahead, as they can be."""
    references, city = data.panoramas.references, data.panoramas.city
    table = Watched(len(city), lag)
    scheduled = BatchPlan(references, city, seed=0, batch_size=BATCH, one_city=False)
    plan = MinedBatchPlan(scheduled, references, references[:, 0], city, table=table, seed=0, first_step=0)
    batches = train_batches(
        data,
        np.arange(len(city)),
        plan,
        first_step=0,
        augment=False,
        seed=0,
        host_rows=slice(0, BATCH),
        threads=2,
        for_mining=True,
    )
    taken, deadline = [], time.monotonic() + 60
    with DeviceFeed(batches, data_mesh()) as feed:
        for step in range(12):
            taken.append(np.asarray(next(feed)["example"]))
            done = step - STEPS_IN_FLIGHT
            # The steps before `done` are finished, and none after them.
            while table.newest_asked < done - 1 + PLANNED_AHEAD:
                assert time.monotonic() < deadline, "less is read ahead than is said"
                time.sleep(0.001)
            if done >= 0:
                table.record(done, taken[done], np.full((BATCH, K), -1))
        table.close()
    return table.waited


def test_no_plan_waits_by_the_smallest_lag_that_is_allowed(tiny_data):
    assert not steps_whose_plan_waited(tiny_data, PLANNED_AHEAD + 1)
    assert steps_whose_plan_waited(tiny_data, PLANNED_AHEAD - 1)
