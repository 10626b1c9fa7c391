import numpy as np
import pytest

from vigor_jax.input.epoch_plan import EpochPlan
from vigor_jax.input.randomness import fold
from vigor_jax.input.sampling import SamplingError


def test_an_epoch_goes_through_its_examples_in_an_order_of_its_own():
    plan = EpochPlan(23, seed=3, batch_size=5)
    assert plan.steps_per_epoch == 4
    for epoch in range(3):
        order = np.random.default_rng(fold(3, "epoch", epoch)).permutation(23)
        found = [plan(4 * epoch + batch) for batch in range(4)]
        np.testing.assert_array_equal(np.concatenate(found), order[:20])
    assert plan(0).tolist() != plan(4).tolist()


def test_a_batch_depends_on_the_seed_and_the_step_alone():
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
