"""The six metrics by their definitions, and the authors' own values."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from vigor_jax.retrieval import Ranks, fractions, rank_metrics


def test_fractions_of_a_table_made_by_hand():
    found = Ranks(
        positive=np.array([0, 1, 4, 5, 9, 10, 3, 4]),
        unrelated_above_positive=np.array([0, 0, 1, 2, 6, 7, 0, 4]),
        unrelated_above_best=np.array([0, 0, 1, 0, 0, 7, 0, 4]),
        num_references=399,  # int(3.99) + 1 = 4
    )
    assert fractions(found) == {
        "top1": 1 / 8,
        "top5": 5 / 8,
        "top10": 7 / 8,
        "top1_percent": 3 / 8,
        "hit_rate": 3 / 8,
        "hit_rate_covered": 5 / 8,
    }


@pytest.mark.parametrize("devices", [1, 8])
def test_the_authors_values(vigor_reference, devices):
    ground, aerial = vigor_reference["ret_ground"], vigor_reference["ret_aerial"]
    if devices > 1:
        rows = NamedSharding(jax.make_mesh((devices,), ("data",)), P("data"))
        ground, aerial = jax.device_put(ground, rows), jax.device_put(np.pad(aerial, ((0, 4), (0, 0))), rows)
    metrics = rank_metrics(ground, aerial, vigor_reference["ret_refs"], num_aerial=900)
    assert metrics["top1"] == vigor_reference["ret_top1"]
    assert metrics["top5"] == vigor_reference["ret_top5"]
    assert metrics["top1_percent"] == vigor_reference["ret_top1pct"]
    assert metrics["hit_rate"] == vigor_reference["ret_hit"]
    assert all(type(value) is float for value in metrics.values())


def test_hit_rate_and_its_covered_form_differ():
    # The best reference is a semi-positive; an unrelated one lies between it and the positive.
    aerial = np.array([[0.7, 0], [0.9, 0], [0.8, 0], [0.1, 0], [0.2, 0]], np.float32)
    metrics = rank_metrics(np.array([[1, 0]], np.float32), aerial, np.array([[0, 1, 3, 4]]))
    assert (metrics["hit_rate"], metrics["hit_rate_covered"]) == (0.0, 1.0)
    assert (metrics["top1"], metrics["top5"]) == (0.0, 1.0)


def test_a_collapsed_model_scores_nothing():
    embedding = np.full(4096, 1 / 64, np.float32)
    references = np.random.default_rng(0).integers(0, 1001, (33, 4))
    metrics = rank_metrics(np.tile(embedding, (33, 1)), np.tile(embedding, (1001, 1)), references)
    assert set(metrics.values()) == {0.0}
