"""How the thread ends: with its object, when closed, and with the process, whose exit code stays the run's.

What it records, and its errors, are tested with the mined table.
"""

import gc
import subprocess
import sys
import threading
import time
import weakref

import numpy as np

from vigor_jax.mining.feedback import FeedbackThread
from vigor_jax.mining.mined_table import MinedTable

# The thread waits inside JAX for far longer than Python takes to come to its end.
_SCRIPT = """
import sys
import jax, jax.numpy as jnp, numpy as np
from vigor_jax.mining.feedback import FeedbackThread

class Table:
    def record(self, step, queries, hardest):
        print("recorded", step, flush=True)

feedback = FeedbackThread(Table())
slow = jax.jit(lambda x: jax.lax.fori_loop(0, 1000, lambda _, x: jnp.tanh(x @ x), x))
feedback.put(0, np.zeros(1, np.int32), slow(jnp.ones((400, 400))))
sys.exit(2)
"""


def test_a_process_that_ends_meanwhile_keeps_its_exit_code():
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout, done.stderr) == (2, "recorded 0\n", "")


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "mining-feedback"}


class Table(MinedTable):
    """Records when it is allowed to."""

    def __init__(self):
        self.steps, self.may_record = [], threading.Event()

    def record(self, step, queries, hardest):
        self.may_record.wait(30)
        self.steps.append(step)


def test_a_dropped_feedback_thread_ends_without_anyone_waiting_for_it():
    before, table = threads(), Table()
    feedback = FeedbackThread(table)
    (thread,) = threads() - before
    feedback.put(0, np.zeros(1, np.int32), np.zeros((1, 1), np.int32))
    dropped = weakref.ref(feedback)
    start = time.monotonic()
    del feedback
    gc.collect()
    assert dropped() is None
    assert time.monotonic() - start < 10
    table.may_record.set()
    thread.join(10)
    assert not thread.is_alive()


def test_draining_waits_for_what_was_put_and_closing_ends_the_thread():
    before, table = threads(), Table()
    feedback = FeedbackThread(table)
    (thread,) = threads() - before
    table.may_record.set()
    for step in range(5):
        feedback.put(step, np.zeros(1, np.int32), np.zeros((1, 1), np.int32))
    feedback.drain()
    assert table.steps == [0, 1, 2, 3, 4]
    feedback.close()
    assert not thread.is_alive()
    feedback.close()
    feedback.drain()
