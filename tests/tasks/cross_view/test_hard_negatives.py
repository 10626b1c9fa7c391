"""The thread that brings what was mined to the host ends with its task."""

import gc
import threading
import weakref

import pytest

from vigor_jax import tasks
from vigor_jax.mining.mined_table import MinedTableClosed


def feedback_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "mining-feedback"}


def test_a_mining_task_that_nobody_closed_is_collected_and_its_thread_ends(town_config):
    before = feedback_threads()
    task = tasks.create(town_config(**{"mining.enabled": True}))
    (thread,) = feedback_threads() - before
    dropped = weakref.ref(task)
    del task
    gc.collect()
    assert dropped() is None
    thread.join(10)
    assert not thread.is_alive()


def test_closing_a_mining_task_ends_its_thread_and_who_waits_for_it(town_config):
    before = feedback_threads()
    task = tasks.create(town_config(**{"mining.enabled": True}))
    (thread,) = feedback_threads() - before
    batches = task.batches(4 * task.steps_per_epoch)  # for which feedback is missing
    for _ in range(2):
        task.close()
    assert not thread.is_alive()
    with pytest.raises(MinedTableClosed):
        next(batches)
    tasks.create(town_config()).close()  # mines nothing
