"""The table against one that keeps all feedback for ever, and what happens to those who wait."""

import contextlib
import threading
import time

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from vigor_jax.mining.feedback import FeedbackThread
from vigor_jax.mining.mined_table import MinedTable, MinedTableClosed

QUERIES, K, BATCH = 12, 3, 4


def feedback(step: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Of the update of a step; batches may be smaller than the largest, and find fewer tiles than k."""
    rng = np.random.default_rng([seed, step])
    queries = rng.permutation(QUERIES)[: rng.integers(1, BATCH + 1)]
    hardest = rng.integers(0, 1000, (len(queries), K))
    hardest[np.arange(K) >= rng.integers(0, K + 1, len(queries))[:, None]] = -1
    return queries, hardest


def expected(query: int, batch_step: int, lag: int, seed: int = 0) -> list[int]:
    """By going through all feedback that the batch may see, newest first."""
    for step in range(batch_step - lag, -1, -1):
        queries, hardest = feedback(step, seed)
        if query in queries:
            return [tile for tile in hardest[queries.tolist().index(query)].tolist() if tile >= 0]
    return []


def table_after(updates: int, lag: int, seed: int = 0) -> MinedTable:
    table = MinedTable(QUERIES, K, lag, BATCH)
    for step in range(updates):
        table.record(step, *feedback(step, seed))
    return table


@hypothesis.settings(deadline=None, max_examples=40)
@hypothesis.given(lag=st.integers(1, 5), seed=st.integers(0, 1000), data=st.data())
def test_a_batch_sees_the_feedback_of_lag_steps_before_in_any_interleaving(lag, seed, data):
    """Look-ups, updates, and resuming from a stored state, in any order in which they may happen."""
    table, recorded = MinedTable(QUERIES, K, lag, BATCH), 0
    for action in data.draw(st.lists(st.sampled_from(["record", "record", "look", "resume"]), max_size=30)):
        if action == "record":
            table.record(recorded, *feedback(recorded, seed))
            recorded += 1
        elif action == "resume":
            state = table.state()
            table = MinedTable(QUERIES, K, lag, BATCH)
            table.restore(state)
        else:
            # From the batch of the newest update to the last one whose feedback is there.
            for batch_step in range(max(recorded - 1, 0), recorded + lag):
                found = [tiles.tolist() for tiles in table.hardest(range(QUERIES), batch_step)]
                assert found == [expected(query, batch_step, lag, seed) for query in range(QUERIES)]
    assert table.recorded == recorded


@pytest.mark.parametrize("updates", [0, 1, 3, 4, 9])
def test_the_state_has_fixed_shapes_and_is_a_copy(updates):
    table = table_after(updates, lag=4)
    state = table.state()
    assert {name: (a.shape, a.dtype.name) for name, a in state.items()} == {
        "recorded": ((), "int64"),
        "base": ((QUERIES, K), "int32"),
        "log_queries": ((4, BATCH), "int32"),
        "log_hardest": ((4, BATCH, K), "int32"),
    }
    before = {name: array.copy() for name, array in state.items()}
    for step in range(updates, updates + 9):
        table.record(step, *feedback(step))
    for name, array in state.items():
        np.testing.assert_array_equal(array, before[name])


def test_a_resumed_table_has_the_state_of_an_unbroken_one():
    unbroken, resumed = table_after(20, lag=6), MinedTable(QUERIES, K, 6, BATCH)
    resumed.restore(table_after(11, lag=6).state())
    for step in range(11, 20):
        resumed.record(step, *feedback(step))
    for (name, a), b in zip(unbroken.state().items(), resumed.state().values(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


def test_a_state_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"base of the mined table is \(12, 3\): expected \(13, 3\)"):
        MinedTable(13, K, 2, BATCH).restore(MinedTable(12, K, 2, BATCH).state())
    with pytest.raises(ValueError, match="log_queries"):
        MinedTable(12, K, 3, BATCH).restore(MinedTable(12, K, 2, BATCH).state())


def test_a_look_up_waits_for_the_feedback_it_depends_on_and_no_longer():
    table, found = table_after(3, lag=2), []
    asked = threading.Thread(target=lambda: found.extend(table.hardest([5], 6)), daemon=True)
    asked.start()
    table.record(3, *feedback(3))
    asked.join(0.2)
    assert asked.is_alive(), "the feedback of step 4 was not waited for"
    table.record(4, *feedback(4))
    asked.join(10)
    assert found[0].tolist() == expected(5, 6, 2)


def test_a_look_up_that_comes_too_late_is_an_error_not_a_wrong_answer():
    table = table_after(9, lag=2)  # what the updates 0 to 6 found is one
    assert table.hardest([5], 8)[0].tolist() == expected(5, 8, 2)
    with pytest.raises(ValueError, match=r"step 7 sees .* up to step 5, .* step 6: it can serve .* from 8 on"):
        table.hardest([5], 7)


def test_bad_feedback_is_refused():
    table = table_after(2, lag=2)
    queries, hardest = feedback(2)
    with pytest.raises(ValueError, match="feedback of step 3, where that of step 2 is next"):
        table.record(3, queries, hardest)
    with pytest.raises(ValueError, match=r"panoramas 0\.\.12 in a table of 12"):
        table.record(2, np.array([0, 12]), np.zeros((2, K), int))
    with pytest.raises(ValueError, match="5 panoramas"):
        table.record(2, np.arange(5), np.zeros((5, K), int))
    with pytest.raises(ValueError, match="lag = 0"):
        MinedTable(QUERIES, K, 0, BATCH)
    assert table.recorded == 2


def test_closing_wakes_and_fails_all_who_wait():
    table, errors = MinedTable(QUERIES, K, 1, BATCH), []

    def look_up() -> None:
        try:
            table.hardest([0], 1)
        except MinedTableClosed as error:
            errors.append(error)

    threads = [threading.Thread(target=look_up, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    table.close()
    for thread in threads:
        thread.join(10)
    assert len(errors) == 4
    with pytest.raises(MinedTableClosed, match="step 0"):
        table.hardest([0], 0)


def test_the_thread_records_device_arrays_in_order():
    table = MinedTable(QUERIES, K, 2, BATCH)
    thread = FeedbackThread(table)
    for step in range(30):
        queries, hardest = feedback(step)
        thread.put(step, jnp.asarray(queries), jnp.asarray(hardest))
    thread.drain()
    for (name, a), b in zip(table.state().items(), table_after(30, 2).state().values(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
    thread.close()
    thread.close()
    with pytest.raises(ValueError, match="closed"):
        thread.put(30, *feedback(30))


def test_an_error_in_the_thread_reaches_everyone():
    table = MinedTable(QUERIES, K, 1, BATCH)
    thread = FeedbackThread(table)
    thread.put(0, *feedback(0))
    thread.put(7, *feedback(7))  # out of turn
    with contextlib.suppress(ValueError):  # raised here already if the thread was quick
        thread.put(1, *feedback(1))
    with pytest.raises(ValueError, match="feedback of step 7"):
        thread.drain()
    with pytest.raises(ValueError, match="feedback of step 7"):
        thread.put(1, *feedback(1))
    with pytest.raises(MinedTableClosed) as closed:
        table.hardest([0], 5)
    assert "feedback of step 7" in str(closed.value.__cause__)
    with pytest.raises(ValueError, match="feedback of step 7"):
        thread.close()
    assert table.recorded == 1
