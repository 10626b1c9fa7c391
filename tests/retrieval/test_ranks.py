"""Streamed ranks are those of a brute force in float64, ties counted against the model, on any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from vigor_jax.retrieval import EvaluationError, Ranks, ranks

_FIELDS = ("positive", "unrelated_above_positive", "unrelated_above_best")


def _brute_force(ground: np.ndarray, aerial: np.ndarray, references: np.ndarray) -> dict[str, list[int]]:
    """Pair by pair, exact for embeddings of small whole numbers."""
    counts = {field: [] for field in _FIELDS}
    for query, own in zip(ground.astype(np.float64), references, strict=True):
        scores = aerial.astype(np.float64) @ query
        others = [j for j in range(len(aerial)) if j != own[0]]
        unrelated = [j for j in range(len(aerial)) if j not in own]
        counts["positive"].append(sum(scores[j] >= scores[own[0]] for j in others))
        counts["unrelated_above_positive"].append(sum(scores[j] >= scores[own[0]] for j in unrelated))
        counts["unrelated_above_best"].append(sum(scores[j] >= max(scores[own]) for j in unrelated))
    return counts


def _assert_equal(found: Ranks, expected: dict[str, list[int]]) -> None:
    for field in _FIELDS:
        np.testing.assert_array_equal(getattr(found, field), expected[field], err_msg=field)


def _whole(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """Whole numbers of -2 to 2: many exact ties and duplicates, and never a tie by rounding."""
    return rng.integers(-2, 3, (rows, dim)).astype(np.float32)


# Shapes from a short list, so that the few programs compile once; everything else is free.
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    queries=st.sampled_from([1, 13]),
    gallery=st.sampled_from([4, 30]),
    blocks=st.sampled_from([(1024, 4096), (4, 3)]),
    repeated=st.booleans(),
)
def test_counts_are_those_of_a_brute_force(seed, queries, gallery, blocks, repeated):
    rng = np.random.default_rng(seed)
    ground, aerial = _whole(rng, queries, 3), _whole(rng, gallery, 3)
    references = np.stack([rng.choice(gallery, 4, replace=repeated) for _ in range(queries)])
    found = ranks(ground, aerial, references, query_block=blocks[0], reference_block=blocks[1])
    assert found.num_references == gallery
    _assert_equal(found, _brute_force(ground, aerial, references))


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_sharded_and_padded_arrays(devices, axis_type):
    rng = np.random.default_rng(devices)
    ground, aerial = _whole(rng, 21, 4), _whole(rng, 53, 4)
    references = np.stack([rng.choice(53, 4, replace=False) for _ in range(21)])
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(axis_type,), devices=jax.devices()[:devices])

    def sharded(rows: np.ndarray) -> jax.Array:
        # Padding that would win, or stop the evaluation, if it were looked at.
        padded = np.pad(rows, ((0, -len(rows) % devices), (0, 0)), constant_values=np.nan)
        return jax.device_put(padded, NamedSharding(mesh, P("data")))

    found = ranks(
        sharded(ground), sharded(aerial), references, num_aerial=53, query_block=2 * devices + 1, reference_block=5
    )
    _assert_equal(found, _brute_force(ground, aerial, references))


def test_a_mesh_of_two_axes_and_arrays_that_lie_elsewhere():
    rng = np.random.default_rng(0)
    ground, aerial = _whole(rng, 10, 4), _whole(rng, 24, 4)
    references = np.stack([rng.choice(24, 4, replace=False) for _ in range(10)])
    expected = _brute_force(ground, aerial, references)
    mesh = jax.make_mesh((2, 4), ("host", "data"), axis_types=(AxisType.Auto,) * 2)
    for spec in (P(("host", "data")), P("data"), P()):
        _assert_equal(ranks(ground, jax.device_put(aerial, NamedSharding(mesh, spec)), references), expected)
    _assert_equal(ranks(jnp.asarray(ground), jax.device_put(aerial, jax.devices()[3]), references), expected)


@pytest.mark.parametrize(("dim", "gallery"), [(16, 100), (37, 333), (4096, 1003), (4097, 517)])
def test_a_collapsed_model_is_last(dim, gallery):
    rng = np.random.default_rng(0)
    for vector in (rng.normal(size=dim), abs(rng.normal(size=dim)), np.zeros(dim)):
        embedding = (vector / max(np.linalg.norm(vector), 1)).astype(np.float32)
        references = np.stack([rng.choice(gallery, 4, replace=False) for _ in range(19)])
        found = ranks(
            np.tile(embedding, (19, 1)),
            np.tile(embedding, (gallery, 1)),
            references,
            query_block=8,
            reference_block=129,
        )
        assert (found.positive == gallery - 1).all()
        assert (found.unrelated_above_positive == gallery - 4).all()
        assert (found.unrelated_above_best == gallery - 4).all()


def test_the_same_tile_under_another_name_ties_wherever_it_lies():
    """Duplicates of every tile at other columns of the matrix product, whose last bit may differ."""
    rng = np.random.default_rng(0)
    tiles = rng.normal(size=(251, 4096))
    tiles = (tiles / np.linalg.norm(tiles, axis=1, keepdims=True)).astype(np.float32)
    aerial = np.concatenate([tiles, tiles[::-1]])
    references = np.stack([np.full(4, i) for i in range(251)])
    found = ranks(tiles, aerial, references, query_block=17, reference_block=101)
    assert (found.positive == 1).all()


def test_close_scores_keep_their_order():
    """A hundredth of a degree apart is no tie."""
    angles = np.array([0.0, 1e-3, 2e-3, 3e-3, 4e-3])
    aerial = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    ground = np.array([[0.0, 1.0]], np.float32)  # scores 0, 0.001, ..., 0.004
    found = ranks(ground, aerial, np.array([[3, 0, 1, 2]]))
    assert found.positive.tolist() == [1]


_GOOD = (np.eye(6, dtype=np.float32)[:3], np.eye(6, dtype=np.float32), np.array([[0, 1, 2, 3]] * 3))


@pytest.mark.parametrize(("view", "row"), [("ground", 1), ("aerial", 4)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_embedding_that_is_not_finite_is_named(view, row, value):
    ground, aerial, references = (array.copy() for array in _GOOD)
    (ground if view == "ground" else aerial)[row, 2] = value
    rows = 3 if view == "ground" else 6
    with pytest.raises(EvaluationError, match=rf"1 of {rows} {view} embeddings are not finite.*first rows: {row}\."):
        ranks(ground, aerial, references)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"references": np.array([[0, 1, 2, 6]] * 3)}, r"3 queries .* first is query 0 with reference 6 of 0\.\.5"),
        ({"references": np.array([[0, 1, 2, 3], [0, -1, 2, 3]])}, r"1 queries .* query 1 with reference -1 of 0\.\.5"),
        ({"references": np.array([[0, 1, 2, 3]] * 4)}, "4 queries have references but only 3"),
        ({"references": np.zeros((0, 4), np.int64)}, r"references are \(0, 4\)"),
        ({"num_aerial": 7}, "num_aerial = 7: there are 6"),
        ({"num_aerial": 3}, r"reference 3 of 0\.\.2"),
    ],
)
def test_what_cannot_be_ranked_says_why(changes, message):
    arguments = {**dict(zip(("ground", "aerial", "references"), _GOOD, strict=True)), **changes}
    with pytest.raises(EvaluationError, match=message):
        ranks(**arguments)
