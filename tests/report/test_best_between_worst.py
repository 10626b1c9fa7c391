import numpy as np
import pytest

from vigor_jax.report import best_between_worst


def test_best_between_and_worst():
    order = np.array([7, 3, 0, 5, 1, 8, 2, 6, 4])
    best, between, worst = best_between_worst.best_between_worst(order, 2)
    assert (best.tolist(), between.tolist(), worst.tolist()) == ([7, 3], [5, 8], [4, 6])


@pytest.mark.parametrize("count", range(1, 20))
def test_nothing_is_shown_twice(count):
    chosen = np.concatenate(best_between_worst.best_between_worst(np.random.default_rng(count).permutation(count), 4))
    assert len(set(chosen.tolist())) == len(chosen) == min(count, 12)
