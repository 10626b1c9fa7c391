"""Several questions in one pass get the answers that each gets alone, for any part of the arrays."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from vigor_jax.retrieval import both_views, score_pass, top_k
from vigor_jax.retrieval.assisted_navigation import assisted_question
from vigor_jax.retrieval.ranks import ranks_question
from vigor_jax.retrieval.top_k import top_k_question


def _whole(rng: np.random.Generator, rows: int, dim: int = 4) -> np.ndarray:
    """Whole numbers of -2 to 2: many exact ties, and never a tie by rounding."""
    return rng.integers(-2, 3, (rows, dim)).astype(np.float32)


def _questions(references: np.ndarray, candidates: np.ndarray, gallery: int) -> list:
    return [ranks_question(references, gallery), top_k_question(5, len(references)), assisted_question(candidates)]


@pytest.mark.parametrize("devices", [1, 8])
def test_parts_of_arrays_whose_rows_lie_in_any_order(devices):
    """As the splits of an evaluation do; the other rows would win, or stop it, if they were looked at."""
    rng = np.random.default_rng(devices)
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])
    arrays, rows = [], []
    for count in (40, 96):
        array = np.full((count, 4), np.nan, np.float32)
        some = rng.permutation(count)[: count - 7]
        array[some] = _whole(rng, len(some))
        arrays.append(array)
        rows.append(some)
    placed = [jax.device_put(array, NamedSharding(mesh, P("data"))) for array in arrays]
    views = both_views(*placed, *rows)
    programs = score_pass._read._cache_size()
    for queries, gallery in ((33, 89), (12, 30), (1, 9)):
        parts = [rng.permutation(len(view))[:count] for view, count in zip(views, (queries, gallery), strict=True)]
        ground, aerial = (array[some][part] for array, some, part in zip(arrays, rows, parts, strict=True))
        references = np.stack([rng.choice(gallery, 4, replace=False) for _ in range(queries)])
        candidates = np.full((queries, 8), -1)
        for query in range(queries):
            window = rng.permutation(np.setdiff1d(np.arange(gallery), references[query, 0]))[: rng.integers(1, 8)]
            candidates[query, : 1 + len(window)] = [references[query, 0], *np.sort(window)]
        ranked, (scores, best), assisted = score_pass.score_pass(
            *(view.take(part) for view, part in zip(views, parts, strict=True)),
            *_questions(references, candidates, gallery),
            query_block=16,
            reference_block=5,
        )
        for query in range(queries):
            score = [float(ground[query] @ tile) for tile in aerial]
            order = sorted(range(gallery), key=lambda tile, score=score: (-score[tile], tile))[:5]
            assert best[query].tolist() == order
            assert scores[query].tolist() == [score[tile] for tile in order]
            positive, own = score[references[query, 0]], references[query].tolist()
            unrelated = [tile for tile in range(gallery) if tile not in own]
            assert ranked.positive[query] == sum(s >= positive for s in score) - 1
            assert ranked.unrelated_above_positive[query] == sum(score[tile] >= positive for tile in unrelated)
            assert ranked.unrelated_above_best[query] == sum(
                score[tile] >= max(score[tile] for tile in own) for tile in unrelated
            )
            window = [tile for tile in candidates[query, 1:] if tile >= 0]
            above = [tile for tile in window if score[tile] >= positive]
            assert (assisted.positive[query], assisted.window[query]) == (len(above), 1 + len(window))
            first = min(above, key=lambda tile, score=score: (-score[tile], tile)) if above else references[query, 0]
            assert assisted.top1[query] == first
    assert score_pass._read._cache_size() == programs + 1  # one for all parts


def test_the_best_of_a_long_block_are_those_of_a_sort():
    """Looked for by the highest of each chunk; with whole numbers most of them tie."""
    rng = np.random.default_rng(0)
    ground, aerial = _whole(rng, 7), _whole(rng, 3000)
    exact = ground @ aerial.T
    expected = np.argsort(-exact, axis=1, kind="stable")[:, :5]
    scores, found = top_k(ground, aerial, 5)  # 3 blocks of 1024
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(scores, np.take_along_axis(exact, expected, axis=1))


def test_memory_does_not_grow_with_queries_and_references():
    def extra_bytes(queries: int, gallery: int) -> int:
        """Of all questions together."""
        rng = np.random.default_rng(0)
        views = both_views(_whole(rng, queries, 8), _whole(rng, gallery, 8), np.arange(queries), np.arange(gallery))
        references = np.zeros((queries, 4), np.int64)
        asked = _questions(references, references, gallery)
        return score_pass.extra_bytes(*views, *asked, query_block=64, reference_block=128)

    few, many = extra_bytes(1024, 1024), extra_bytes(8192, 65536)
    asked_and_found = 4 * (1 + 4 + 4 + 1) + 4 * (3 + 5 + 5 + 2)  # bytes a query; a reference has a row and a number
    assert few < 512 * 1024
    assert many < few + 2 * 7168 * asked_and_found + 8 * 64512 + 64 * 1024  # the score matrix would be 2 GiB
