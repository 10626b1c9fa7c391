"""Recalls of any gallery, with ties and the same tile many times over."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vigor_jax.retrieval import fractions, rank_metrics, ranks, top_k

# Shapes from a short list, so that few programs compile; whole numbers, so that no tie is one by rounding.
QUERIES, DIM = 6, 3


@st.composite
def searches(draw):
    """(ground, aerial, references): few different vectors, so ties and duplicates are common."""
    gallery = draw(st.sampled_from([4, 25]))
    vectors = np.array(draw(st.lists(st.tuples(*[st.integers(-2, 2)] * DIM), min_size=1, max_size=6)), np.float32)
    choose = st.integers(0, len(vectors) - 1)
    ground = vectors[draw(st.lists(choose, min_size=QUERIES, max_size=QUERIES))]
    aerial = vectors[draw(st.lists(choose, min_size=gallery, max_size=gallery))]
    row = st.integers(0, gallery - 1)
    references = draw(st.lists(st.tuples(row, row, row, row), min_size=QUERIES, max_size=QUERIES))
    return ground, aerial, np.array(references)


def by_hand(ground, aerial, references) -> dict[str, float]:
    """Query by query and reference by reference."""
    hits = {name: 0 for name in ("top1", "top5", "top10", "top1_percent", "hit_rate", "hit_rate_covered")}
    for query, own in zip(ground, references, strict=True):
        scores = [float(sum(a * b for a, b in zip(query, tile, strict=True))) for tile in aerial]
        rank = sum(scores[j] >= scores[own[0]] for j in range(len(aerial)) if j != own[0])
        unrelated = [scores[j] for j in range(len(aerial)) if j not in set(own.tolist())]
        best = max(scores[j] for j in own)
        hits["top1"] += rank < 1
        hits["top5"] += rank < 5
        hits["top10"] += rank < 10
        hits["top1_percent"] += rank < int(0.01 * len(aerial)) + 1
        hits["hit_rate"] += not any(score >= scores[own[0]] for score in unrelated)
        hits["hit_rate_covered"] += not any(score >= best for score in unrelated)
    return {name: count / len(references) for name, count in hits.items()}


@given(searches())
def test_metrics_are_those_of_an_explicit_loop(search):
    found = rank_metrics(*search)
    expected = by_hand(*search)
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], err_msg=name)


@given(searches())
def test_recall_grows_with_k_and_a_wider_hit_is_no_rarer(search):
    found = rank_metrics(*search)
    assert 0 <= found["top1"] <= found["top5"] <= found["top10"] <= 1
    assert found["top1"] <= found["hit_rate"] <= found["hit_rate_covered"] <= 1
    if len(search[1]) <= 10:
        assert found["top10"] == 1


@given(searches(), st.randoms(use_true_random=False))
def test_the_order_of_gallery_and_queries_does_not_matter(search, random):
    ground, aerial, references = search
    order = list(range(len(aerial)))
    random.shuffle(order)
    place = np.argsort(order)
    turned = list(range(QUERIES))
    random.shuffle(turned)
    before = ranks(ground, aerial, references)
    after = ranks(ground[turned], aerial[order], place[references[turned]])
    np.testing.assert_array_equal(after.positive, before.positive[turned])
    np.testing.assert_array_equal(after.unrelated_above_best, before.unrelated_above_best[turned])
    assert fractions(after) == fractions(before)


@given(searches(), st.sampled_from([1, 4]))
def test_what_search_finds_agrees_with_the_ranks(search, k):
    """A positive ranked below k, ties against it, is among the first k by any order of the ties."""
    ground, aerial, references = search
    _, rows = top_k(ground, aerial, k)
    positive = ranks(ground, aerial, references).positive
    among = (rows == references[:, :1]).any(axis=1)
    assert np.all(among[positive < k])
    assert all(len(set(found)) == k for found in rows.tolist())
