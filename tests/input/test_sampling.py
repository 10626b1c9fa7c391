import itertools
import json
import subprocess
import sys
import time

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from vigor_jax.input.randomness import fold
from vigor_jax.input.sampling import BatchPlan, ClaimedTiles, EpochPlan, SamplingError, host_rows


def epoch_of(plan: BatchPlan, epoch: int) -> np.ndarray:
    return np.stack([plan(epoch * plan.steps_per_epoch + i) for i in range(plan.steps_per_epoch)])


def assert_disjoint(batch: np.ndarray, references: np.ndarray) -> None:
    for a, b in itertools.combinations(batch.tolist(), 2):
        assert not set(references[a].tolist()) & set(references[b].tolist()), f"{a} and {b} share a reference"


def test_examples_of_a_batch_share_no_reference(street_grid):
    references, city = street_grid(cities=2, side=12, per_city=200)
    for one_city in (False, True):
        plan = BatchPlan(references, city, seed=3, batch_size=16, one_city=one_city)
        for step in range(2 * plan.steps_per_epoch):
            assert_disjoint(plan(step), references)


def test_an_epoch_visits_each_example_at_most_once_and_nearly_all(street_grid):
    references, city = street_grid(cities=2, side=30, per_city=403)
    plan = BatchPlan(references, city, seed=0, batch_size=8, one_city=False)
    assert plan.steps_per_epoch == 806 // 8
    left_over = []
    for epoch in range(4):
        visited = epoch_of(plan, epoch).ravel()
        assert len(np.unique(visited)) == len(visited) == 800
        left_over.append(frozenset(range(806)) - set(visited.tolist()))
    assert len(set(left_over)) == 4, "the same examples are left out of every epoch"


def test_epochs_and_seeds_differ_in_order(street_grid):
    references, city = street_grid(cities=1, side=30, per_city=400)
    plan = BatchPlan(references, city, seed=0, batch_size=8, one_city=False)
    other = BatchPlan(references, city, seed=1, batch_size=8, one_city=False)
    first, second, reseeded = epoch_of(plan, 0), epoch_of(plan, 1), epoch_of(other, 0)
    assert (first != second).mean() > 0.9
    assert (first != reseeded).mean() > 0.9
    assert (first.ravel() != np.sort(first.ravel())).mean() > 0.9


def test_deferred_examples_go_first_into_the_following_batches():
    # A third of the examples share a tile: each batch takes one of them, and the rest of them wait for their turn.
    references = np.arange(90 * 4).reshape(90, 4)
    references[:30, 0] = 0
    plan = BatchPlan(references, np.zeros(90, int), seed=5, batch_size=10, one_city=False)
    schedule = epoch_of(plan, 0)
    assert ((schedule < 30).sum(axis=1) == 1).all()
    assert (schedule[1:, 0] < 30).all()


def test_batches_are_the_same_in_any_order_of_access(street_grid):
    references, city = street_grid(cities=3, side=10, per_city=90)
    plan = BatchPlan(references, city, seed=7, batch_size=8, one_city=True)
    steps = 5 * plan.steps_per_epoch
    forward = [plan(step) for step in range(steps)]
    shuffled = np.random.default_rng(0).permutation(steps)
    again = BatchPlan(references, city, seed=7, batch_size=8, one_city=True)
    for step in shuffled.tolist():
        np.testing.assert_array_equal(again(step), forward[step])


def test_batches_are_the_same_in_another_process(street_grid):
    references, city = street_grid(cities=2, side=10, per_city=40)
    plan = BatchPlan(references, city, seed=7, batch_size=8, one_city=False)
    program = (
        "import json, sys, numpy as np; from vigor_jax.input.sampling import BatchPlan\n"
        "references, city = json.load(sys.stdin)\n"
        "plan = BatchPlan(np.array(references), np.array(city), seed=7, batch_size=8, one_city=False)\n"
        "print(json.dumps([plan(step).tolist() for step in (23, 4)]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps([references.tolist(), city.tolist()]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(result.stdout) == [plan(23).tolist(), plan(4).tolist()]


def test_one_city_batches_and_their_order(street_grid):
    references, city = street_grid(cities=3, side=14, per_city=150)
    plan = BatchPlan(references, city, seed=2, batch_size=16, one_city=True)
    assert plan.steps_per_epoch == 3 * (150 // 16)
    cities = city[epoch_of(plan, 0)]
    assert (cities == cities[:, :1]).all()
    assert np.bincount(cities[:, 0]).tolist() == [9, 9, 9]
    assert np.count_nonzero(np.diff(cities[:, 0])) > 9, "the cities do not take turns"
    assert not np.array_equal(cities[:, 0], city[epoch_of(plan, 1)][:, 0])


def test_an_end_of_an_epoch_that_cannot_be_packed_is_filled_again():
    # 40 of 64 examples share a tile, so no batch can hold two of them and only 24 others are there to go around.
    references = np.arange(64 * 4).reshape(64, 4)
    references[:40, 0] = 0
    plan = BatchPlan(references, np.zeros(64, int), seed=0, batch_size=8, one_city=False)
    assert plan.steps_per_epoch == 8
    for epoch in range(3):
        schedule = epoch_of(plan, epoch)
        assert schedule.shape == (8, 8)
        for batch in schedule:
            assert_disjoint(batch, references)
        crowded = schedule[schedule < 40]
        assert len(crowded) == 8
        assert len(np.unique(crowded)) == 8


def test_a_batch_that_barely_exists_is_found_every_time():
    # Disjoint sets of 6 exist only without example 0, which overlaps all others.
    references = np.arange(7 * 4).reshape(7, 4)
    references[0] = references[1:5, 0]
    references[5, 1] = references[6, 1] = references[0, 0]
    references[5, 1], references[6, 1] = 100, 101
    plan = BatchPlan(references, np.zeros(7, int), seed=0, batch_size=6, one_city=False)
    assert plan.steps_per_epoch == 1
    for step in range(50):
        assert sorted(plan(step).tolist()) == [1, 2, 3, 4, 5, 6]


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(
    references=st.lists(st.lists(st.integers(0, 40), min_size=4, max_size=4), min_size=1, max_size=60),
    batch_size=st.integers(1, 6),
    seed=st.integers(0, 2**40),
    one_city=st.booleans(),
)
def test_any_plan_is_disjoint_and_full_or_refused(references, batch_size, seed, one_city):
    references = np.array(references)
    city = np.arange(len(references)) % 2
    try:
        plan = BatchPlan(references, city, seed=seed, batch_size=batch_size, one_city=one_city)
    except SamplingError:
        # Four references an example and each tile in a few of them: small batches of many examples always exist.
        most = max(np.bincount(references.ravel()))
        assert min(np.bincount(city)) < 4 * most * batch_size
        return
    groups = [len(references)] if not one_city else np.bincount(city).tolist()
    assert plan.steps_per_epoch == sum(n // batch_size for n in groups) > 0
    for epoch in range(2):
        schedule = epoch_of(plan, epoch)
        for batch in schedule:
            assert len(set(batch.tolist())) == batch_size
            assert_disjoint(batch, references)


def test_an_impossible_batch_is_refused_with_the_key_and_the_counts(street_grid):
    references, city = street_grid(cities=2, side=4, per_city=50)
    with pytest.raises(SamplingError, match=r"config\.batch\.size = 20.*100 training panoramas.*no more than \d+"):
        BatchPlan(references, city, seed=0, batch_size=20, one_city=False)
    with pytest.raises(SamplingError, match="the city of index 0 has 50"):
        BatchPlan(references, city, seed=0, batch_size=10, one_city=True)


def test_an_epoch_of_vigor_is_planned_in_linear_time(street_grid):
    references, city = street_grid(cities=4, side=150, per_city=13_000)
    start = time.thread_time()
    BatchPlan(references, city, seed=0, batch_size=32, one_city=False)(0)
    # 0.1 s, and the type checks of the tests on top; a scan that is quadratic in the examples takes minutes.
    assert time.thread_time() - start < 2.0


def test_an_epoch_of_independent_examples_goes_through_them_in_an_order_of_its_own():
    plan = EpochPlan(23, seed=3, batch_size=5)
    assert plan.steps_per_epoch == 4
    for epoch in range(3):
        order = np.random.default_rng(fold(3, "epoch", epoch)).permutation(23)
        found = [plan(4 * epoch + batch) for batch in range(4)]
        np.testing.assert_array_equal(np.concatenate(found), order[:20])
    assert plan(0).tolist() != plan(4).tolist()


def test_a_batch_of_independent_examples_depends_on_the_seed_and_the_step_alone():
    plan = EpochPlan(40, seed=0, batch_size=8)
    steps = np.random.default_rng(0).permutation(30)
    asked = {int(step): plan(int(step)).tolist() for step in steps}
    assert [EpochPlan(40, seed=0, batch_size=8)(step).tolist() for step in range(30)] == [asked[i] for i in range(30)]
    assert EpochPlan(40, seed=1, batch_size=8)(0).tolist() != asked[0]
    with pytest.raises(ValueError, match="read-only"):
        plan(0)[0] = 1


def test_a_batch_larger_than_the_data_is_refused():
    assert EpochPlan(8, seed=0, batch_size=8).steps_per_epoch == 1
    with pytest.raises(SamplingError, match=r"config\.batch\.size = 8: there are 7 training images"):
        EpochPlan(7, seed=0, batch_size=8)


def test_claims_are_all_or_nothing():
    claimed = ClaimedTiles(np.array([[0, 1, 2, 3], [6, 5, 4, 3], [4, 5, 6, 7]]))
    claimed.start_batch()
    assert claimed.claim(0)
    assert not claimed.claim(1)
    assert claimed.claim(2), "a refused example kept some of its tiles"
    claimed.start_batch()
    assert claimed.claim(1)


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_host_rows_are_the_batch_in_order(hosts):
    rows = [range(32)[host_rows(32, host, hosts)] for host in range(hosts)]
    assert [row for block in rows for row in block] == list(range(32))


def test_hosts_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(SamplingError, match=r"config\.batch\.size = 30 .* 4 hosts: .* such as 32"):
        host_rows(30, 1, 4)
