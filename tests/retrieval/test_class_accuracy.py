import numpy as np
import pytest

from vigor_jax.retrieval.class_accuracy import class_accuracy
from vigor_jax.retrieval.errors import EvaluationError


def test_shares_by_a_loop():
    rng = np.random.default_rng(0)
    scores, label = rng.integers(0, 6, (200, 9)).astype(np.float32), rng.integers(-1, 9, 200)  # many ties
    found = {1: 0, 5: 0}
    for row, true in zip(scores, label, strict=True):
        if true < 0:
            continue
        better = sum(1 for other in range(9) if other != true and row[other] >= row[true])
        for top in found:
            found[top] += better < top
    assert class_accuracy(label, scores) == {"top1": found[1] / 200, "top5": found[5] / 200}
    assert 0 < found[1] < found[5] < 200


def test_equal_scores_find_nothing():
    assert class_accuracy(np.zeros(3, int), np.ones((3, 6))) == {"top1": 0.0, "top5": 0.0}


@pytest.mark.parametrize(
    ("label", "scores", "message"),
    [
        ([], np.zeros((0, 3)), "no image was classified"),
        ([3], np.zeros((1, 3)), "row 0 is of class 3, and the scores are of 3 classes"),
        ([0, 1], [[0.0, 1.0], [np.nan, 0.0]], "1 of 2 rows of scores are not finite; the first is row 1"),
    ],
)
def test_what_cannot_be_counted_is_refused(label, scores, message):
    with pytest.raises(EvaluationError, match=message):
        class_accuracy(np.array(label, int), np.asarray(scores, np.float64))
