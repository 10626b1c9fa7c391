"""Which labelled examples make batch t: every epoch goes through all of them in an order of its own."""

import functools
import threading

import numpy as np
from jaxtyping import Int

from vigor_jax.input.randomness import fold
from vigor_jax.input.sampling import SamplingError


class EpochPlan:
    """Batches of independent examples; `plan(t)` is the same whatever was asked before and on any host.

    The order of an epoch is drawn from (seed, epoch). It has floor(examples / batch_size) batches; the few examples
    left over, others in each epoch, are not used.

    Attributes:
      steps_per_epoch: batches an epoch holds.
    """

    def __init__(self, examples: int, *, seed: int, batch_size: int):
        """Plans the batches of so many examples.

        Args:
          examples: of the training list.
          seed: of the run.
          batch_size: examples a batch, over all hosts.

        Raises:
          SamplingError: there are fewer examples than a batch holds.
        """
        if examples < batch_size:
            raise SamplingError(
                f"config.batch.size = {batch_size}: there are {examples:,} training images. Use a batch of at most "
                "that size."
            )
        self._examples, self._seed, self._batch_size = examples, seed, batch_size
        self.steps_per_epoch = examples // batch_size
        # Read-ahead asks for two epochs at their border, from many threads.
        self._lock = threading.Lock()
        self._order = functools.lru_cache(maxsize=2)(self._draw)

    def __call__(self, step: int) -> Int[np.ndarray, "batch"]:
        """Indices into the training list, of the batch of a step, counted from 0 over all epochs."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        with self._lock:
            return self._order(epoch)[batch * self._batch_size : (batch + 1) * self._batch_size]

    def _draw(self, epoch: int) -> Int[np.ndarray, "examples"]:
        order = np.random.default_rng(fold(self._seed, "epoch", epoch)).permutation(self._examples)
        order.setflags(write=False)  # the cache hands out parts of it
        return order
