"""Streamed search finds what sorting all scores finds, on any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from vigor_jax.retrieval import EvaluationError, top_k


def _sorted(ground: np.ndarray, aerial: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """By score, then by row; exact for embeddings of small whole numbers."""
    scores = ground.astype(np.float64) @ aerial.astype(np.float64).T
    rows = [sorted(range(len(aerial)), key=lambda row, of=of: (-of[row], row))[:k] for of in scores]
    return np.take_along_axis(scores, np.array(rows), axis=1), np.array(rows)


def _assert_found(found: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])
    assert (found[0].dtype, found[1].dtype) == (np.float32, np.int32)


def _whole(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """Whole numbers of -2 to 2: many exact ties, and never a tie by rounding."""
    return rng.integers(-2, 3, (rows, dim)).astype(np.float32)


# Shapes from a short list, so that the few programs compile once; everything else is free.
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    queries=st.sampled_from([1, 13]),
    gallery_and_k=st.sampled_from([(1, 1), (30, 1), (30, 7), (30, 30)]),
    blocks=st.sampled_from([(1024, 4096), (4, 3)]),
)
def test_the_best_are_those_of_a_sort(seed, queries, gallery_and_k, blocks):
    rng = np.random.default_rng(seed)
    gallery, k = gallery_and_k
    ground, aerial = _whole(rng, queries, 3), _whole(rng, gallery, 3)
    found = top_k(ground, aerial, k, query_block=blocks[0], reference_block=blocks[1])
    _assert_found(found, _sorted(ground, aerial, k))


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_sharded_and_padded_arrays(devices, axis_type):
    rng = np.random.default_rng(devices)
    ground, aerial = _whole(rng, 21, 4), _whole(rng, 53, 4)
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(axis_type,), devices=jax.devices()[:devices])

    def sharded(rows: np.ndarray) -> jax.Array:
        # Padding that would win, or stop the search, if it were looked at.
        padded = np.pad(rows, ((0, 3 + -(len(rows) + 3) % devices), (0, 0)), constant_values=np.nan)
        return jax.device_put(padded, NamedSharding(mesh, P("data")))

    # k of more than a device's rows, and of more than a block.
    for k in (1, 11):
        found = top_k(
            sharded(ground),
            sharded(aerial),
            k,
            num_aerial=53,
            num_ground=21,
            query_block=2 * devices + 1,
            reference_block=5,
        )
        _assert_found(found, _sorted(ground, aerial, k))


def test_a_mesh_of_two_axes_and_arrays_that_lie_elsewhere():
    rng = np.random.default_rng(0)
    ground, aerial = _whole(rng, 10, 4), _whole(rng, 24, 4)
    expected = _sorted(ground, aerial, 5)
    mesh = jax.make_mesh((2, 4), ("host", "data"), axis_types=(AxisType.Auto,) * 2)
    for spec in (P(("host", "data")), P("data"), P()):
        _assert_found(top_k(ground, jax.device_put(aerial, NamedSharding(mesh, spec)), 5), expected)
    _assert_found(top_k(jnp.asarray(ground), jax.device_put(aerial, jax.devices()[3]), 5), expected)


@pytest.mark.parametrize("k", [1, 5, 9])
@pytest.mark.parametrize(("devices", "gallery"), [(1, 2048), (1, 1026), (2, 1027)])
def test_blocks_in_which_few_chunks_are_looked_at(devices, gallery, k):
    # Of 1,024 references each; the last may hold two or three, fewer than are asked for.
    rng = np.random.default_rng(k)
    ground, aerial = _whole(rng, 17, 7), _whole(rng, 2048, 7)
    ground[0] = 0  # all references are equal
    aerial[gallery - 2 : gallery] = 3 * ground[1:3]  # and these two find their best in the last block
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])
    sharded = jax.device_put(aerial, NamedSharding(mesh, P("data")))
    found = top_k(ground, sharded, k, num_aerial=gallery, reference_block=1024)
    _assert_found(found, _sorted(ground, aerial[:gallery], k))


def test_unit_embeddings_of_full_size():
    rng = np.random.default_rng(1)
    ground, aerial = (rng.normal(size=(rows, 4096)).astype(np.float32) / 64 for rows in (9, 501))
    scores, rows = top_k(ground, aerial, 20, query_block=4, reference_block=100)
    exact = ground.astype(np.float64) @ aerial.astype(np.float64).T
    np.testing.assert_allclose(scores, np.take_along_axis(exact, rows, axis=1), atol=1e-6)
    np.testing.assert_array_equal(rows, np.argsort(-exact, axis=1)[:, :20])


@pytest.mark.parametrize(("view", "row"), [("ground", 1), ("aerial", 4)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_embedding_that_is_not_finite_is_named(view, row, value):
    arrays = {"ground": np.eye(6, dtype=np.float32)[:3], "aerial": np.eye(6, dtype=np.float32)}
    arrays[view][row, 2] = value
    with pytest.raises(EvaluationError, match=rf"1 of \d {view} embeddings are not finite.*first rows: {row}\."):
        top_k(arrays["ground"], arrays["aerial"], 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 7}, "the 7 best of 6 references"),
        ({"k": 0}, "k must be 1 to 6"),
        ({"k": 4, "num_aerial": 3}, "the 4 best of 3 references"),
        ({"num_aerial": 7}, "num_aerial = 7: there are 6"),
        ({"num_ground": 0}, "num_ground = 0: there are 3"),
    ],
)
def test_what_cannot_be_searched_says_why(changes, message):
    with pytest.raises(EvaluationError, match=message):
        top_k(np.eye(6, dtype=np.float32)[:3], np.eye(6, dtype=np.float32), **{"k": 2, **changes})
