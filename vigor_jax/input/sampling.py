"""Which training examples make batch t: a pure function of the seed and t.

A plan is asked once for each batch, in order and by one thread; asked in another order it says the same, and takes
longer. `BatchPlan` is for pairs: every pair of a batch is a negative of every other, so no two examples of a batch may
share any of their four references (VIGOR; Zhu, Yang, Chen, CVPR 2021), as a tile would be pushed away from a panorama
it covers. `EpochPlan` is for examples that have nothing to do with each other.
"""

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from vigor_jax.errors import UserError
from vigor_jax.input.randomness import fold

# Of a step, counted from 0 over all epochs, the indices into the training list that make its batch.
Plan = Callable[[int], Int[np.ndarray, "batch"]]

_ATTEMPTS = 8  # random orders tried before a batch of disjoint examples is called impossible


class SamplingError(UserError):
    """A batch that the training examples cannot fill; names the key and the mend."""


class ClaimedTiles:
    """The tiles that the examples of the batch being built refer to."""

    def __init__(self, references: Int[np.ndarray, "examples 4"]):
        # Lists: the check runs once an example in Python, where they are several times faster than arrays.
        self._references = references.tolist()
        self._claimed_by = [0] * (int(references.max(initial=-1)) + 1)
        self._batch = 0

    def start_batch(self) -> None:
        """Forgets every claim."""
        self._batch += 1

    def claim(self, example: int) -> bool:
        """Takes the four references of an example, or none and returns False if one is already taken."""
        claimed_by, batch = self._claimed_by, self._batch
        references = self._references[example]
        for tile in references:
            if claimed_by[tile] == batch:
                return False
        for tile in references:
            claimed_by[tile] = batch
        return True


class BatchPlan:
    """Batches of examples that share no reference.

    An epoch goes through its examples in an order drawn from (seed, epoch) and fills batch after batch; an example
    that overlaps the batch being filled waits and goes first into the following ones. An epoch has
    floor(examples / batch_size) batches, of each city where batches are of one city; the few examples left over
    (others in each epoch) are not used. Where the end of an epoch has too few disjoint examples left, the free places
    are filled from all examples in a second order; elsewhere no example comes twice in an epoch.

    Attributes:
      steps_per_epoch: batches an epoch holds.
    """

    def __init__(
        self,
        references: Int[np.ndarray, "examples 4"],
        city: Int[np.ndarray, "examples"],
        *,
        seed: int,
        batch_size: int,
        one_city: bool,
    ):
        """Plans the batches of a training list.

        Args:
          references: rows of tiles.
          batch_size: over all hosts.
          one_city: every batch is of a single city, and the cities take turns at random.

        Raises:
          SamplingError: there are not batch_size examples without a common reference (in a city, if one_city).
        """
        self._seed = seed
        self._batch_size = batch_size
        self._references = references
        if one_city:
            cities = {f"the city of index {c} has": np.flatnonzero(city == c) for c in np.unique(city)}
        else:
            cities = {"the training cities have": np.arange(len(city))}
        self._groups = list(cities.values())
        self._fallbacks = [self._disjoint_examples(group, whose) for whose, group in cities.items()]
        self.steps_per_epoch = sum(len(group) // batch_size for group in self._groups)
        self._epoch = functools.lru_cache(maxsize=1)(self._schedule)

    def __call__(self, step: int) -> Int[np.ndarray, "batch"]:
        """Gives the indices into the training list of the batch of a step, counted from 0 over all epochs."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        return self._epoch(epoch)[batch]

    def _disjoint_examples(self, group: Int[np.ndarray, "group"], whose: str) -> list[int]:
        """At least batch_size examples of a group that share no reference: the proof that its batches exist."""
        most = 0
        claimed = ClaimedTiles(self._references)
        for attempt in range(_ATTEMPTS):
            claimed.start_batch()
            order = np.random.default_rng(fold(self._seed, "disjoint", attempt)).permutation(group).tolist()
            disjoint = [example for example in order if claimed.claim(example)]
            if len(disjoint) >= self._batch_size:
                return disjoint
            most = max(most, len(disjoint))
        raise SamplingError(
            f"config.batch.size = {self._batch_size}: {whose} {len(group)} training panoramas, of which no more than "
            f"{most} were found that share no reference tile, as those of a batch must. Use a batch of at most that "
            "size, or more panoramas."
        )

    def _schedule(self, epoch: int) -> Int[np.ndarray, "steps batch"]:
        rng = np.random.default_rng(fold(self._seed, "epoch", epoch))
        batches = [
            batch
            for group, fallback in zip(self._groups, self._fallbacks, strict=True)
            for batch in self._pack(rng, group, fallback)
        ]
        schedule = np.array(batches, np.int64)
        if len(self._groups) > 1:
            schedule = rng.permutation(schedule, axis=0)
        schedule.setflags(write=False)  # the cache hands out its own rows
        return schedule

    def _pack(self, rng: np.random.Generator, group: Int[np.ndarray, "group"], fallback: list[int]) -> list[list[int]]:
        """Batches of one group, in an order drawn from rng."""
        size = self._batch_size
        order, refill = rng.permutation(group).tolist(), rng.permutation(group).tolist()
        claimed = ClaimedTiles(self._references)
        fresh, again = 0, 0  # how far `order` and `refill` are used
        waiting: list[int] = []
        batches = []
        for _ in range(len(group) // size):
            claimed.start_batch()
            batch: list[int] = []
            still_waiting = []
            for position, example in enumerate(waiting):
                if len(batch) == size:
                    still_waiting += waiting[position:]
                    break
                (batch if claimed.claim(example) else still_waiting).append(example)
            while len(batch) < size and fresh < len(order):
                (batch if claimed.claim(order[fresh]) else still_waiting).append(order[fresh])
                fresh += 1
            waiting, first_time = still_waiting, len(batch)
            for _ in range(len(refill)):
                if len(batch) == size:
                    break
                if claimed.claim(refill[again]):
                    batch.append(refill[again])
                again = (again + 1) % len(refill)
            if len(batch) < size:
                # What was picked stands in the way of a full batch, so the batch starts from one known to exist.
                waiting = batch[:first_time] + waiting
                batch = rng.permutation(fallback)[:size].tolist()
            batches.append(batch)
        return batches


class EpochPlan:
    """Batches of independent examples.

    The order of an epoch is drawn from (seed, epoch). It has floor(examples / batch_size) batches; the few examples
    left over, others in each epoch, are not used.

    Attributes:
      steps_per_epoch: batches an epoch holds.
    """

    def __init__(self, examples: int, *, seed: int, batch_size: int):
        """Plans batches of `batch_size` of so many examples, over all hosts.

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
        self._order = functools.lru_cache(maxsize=1)(self._draw)

    def __call__(self, step: int) -> Int[np.ndarray, "batch"]:
        """Gives the indices into the training list of the batch of a step, counted from 0 over all epochs."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        return self._order(epoch)[batch * self._batch_size : (batch + 1) * self._batch_size]

    def _draw(self, epoch: int) -> Int[np.ndarray, "examples"]:
        order = np.random.default_rng(fold(self._seed, "epoch", epoch)).permutation(self._examples)
        order.setflags(write=False)  # the cache hands out parts of it
        return order


def host_rows(batch_size: int, process_index: int, process_count: int) -> slice:
    """Gives the rows of the global batch that a host reads: the process_index-th contiguous block.

    Raises:
      SamplingError: the hosts do not divide the batch.
    """
    if batch_size % process_count:
        raise SamplingError(
            f"config.batch.size = {batch_size} cannot be divided among {process_count} hosts: make it a multiple of "
            f"{process_count}, such as {-(-batch_size // process_count) * process_count}."
        )
    rows = batch_size // process_count
    return slice(process_index * rows, (process_index + 1) * rows)
