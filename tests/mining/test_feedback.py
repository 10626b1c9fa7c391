"""The process's exit code is the run's, whatever the thread is doing; the rest is tested with the mined table."""

import subprocess
import sys

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
