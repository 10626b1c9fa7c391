"""Batches of which half is random and half is hard: a pure function of (seed, t, the mined table as of t - lag).

The hard half follows VIGOR's authors (Zhu, Yang, Chen, CVPR 2021; dataloader.py): each random example brings one of
the tiles that were hardest for its panorama, with a panorama of that tile.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from vigor_jax.input.randomness import fold
from vigor_jax.input.sampling import BatchPlan, ClaimedTiles

_REDRAWS = 100  # tiles tried for one partner, as in the authors' code


@runtime_checkable
class HardestTiles(Protocol):
    """What `MinedBatchPlan` asks for; `mining.MinedTable` is one."""

    def hardest(self, queries: Sequence[int], batch_step: int) -> list[Int[np.ndarray, "found"]]:
        """Finds the tiles hardest for each panorama as the batch of a step may see it; waits until they are known."""
        ...


class MinedBatchPlan:
    """A `BatchPlan` whose batches are half mined from a given step on.

    Of a batch of the plan the first half (rounded up) is kept. Each of its examples in turn, as far as there is room,
    then brings a random one of its hardest tiles, by a random one of the training panoramas whose positive that tile
    is. A tile whose panorama overlaps the batch is passed over for another, up to 100 times. Places that are left are
    filled with the other half of the plan's batch and then with random examples of the cities that the kept ones are
    from; should even these overlap too much, the batch is the plan's own. No batch has an overlap or an empty place,
    and if the plan's batches are of one city each, so are these.

    An epoch keeps its number of steps, so every example comes once in two epochs on average as a random one, beside
    the times that it is mined.

    Attributes:
      steps_per_epoch: of the plan.
    """

    def __init__(
        self,
        plan: BatchPlan,
        references: Int[np.ndarray, "examples 4"],
        positive: Int[np.ndarray, "examples"],
        city: Int[np.ndarray, "examples"],
        *,
        table: HardestTiles,
        seed: int,
        first_step: int,
    ):
        """Plans on top of a plan.

        Args:
          plan: the random batches.
          references: rows of tiles; those of the plan.
          positive: row of the tile that each training example is paired with.
          table: the tiles hardest for each training example, both by the numbers used here. Where batches are of one
            city, it must hold tiles of the example's city alone.
          first_step: whose batch is the first to be half mined.
        """
        self.steps_per_epoch = plan.steps_per_epoch
        self._plan = plan
        self._city = city
        self._table = table
        self._seed = seed
        self._first_step = first_step
        by_tile = np.argsort(positive, kind="stable")
        tiles, starts = np.unique(positive[by_tile], return_index=True)
        self._panoramas = dict(zip(tiles.tolist(), np.split(by_tile, starts[1:]), strict=True))
        self._claimed = ClaimedTiles(references)

    def __call__(self, step: int) -> Int[np.ndarray, "batch"]:
        """Gives the indices into the training list of the batch of a step; waits for the feedback it depends on.

        Raises:
          Exception: of the table, such as that it was closed.
        """
        scheduled = self._plan(step)
        if step < self._first_step:
            return scheduled
        size = len(scheduled)
        kept = scheduled[: -(-size // 2)].tolist()
        hardest = self._table.hardest(kept[: size - len(kept)], step)
        rng = np.random.default_rng(fold(self._seed, "mined", step))
        self._claimed.start_batch()
        batch = [example for example in kept if self._claimed.claim(example)]
        for tiles in hardest:
            self._add_mined(batch, tiles, rng)
        self._fill(batch, scheduled[len(kept) :], size)
        if len(batch) < size:
            nearby = np.flatnonzero(np.isin(self._city, self._city[kept]))
            self._fill(batch, rng.permutation(nearby), size)
        return np.array(batch, scheduled.dtype) if len(batch) == size else scheduled

    def _add_mined(self, batch: list[int], tiles: Int[np.ndarray, "found"], rng: np.random.Generator) -> None:
        """Adds a panorama of one of the tiles, if one of those tried fits."""
        # Tiles can be in the pool that are no training panorama's positive.
        candidates = [tile for tile in tiles.tolist() if tile in self._panoramas]
        for place in rng.permutation(len(candidates))[:_REDRAWS].tolist():
            panoramas = self._panoramas[candidates[place]]
            example = int(panoramas[rng.integers(len(panoramas))])
            if self._claimed.claim(example):
                batch.append(example)
                return

    def _fill(self, batch: list[int], examples: Int[np.ndarray, "examples"], size: int) -> None:
        """Adds those of the examples that fit, in order, until the batch has its size."""
        for example in examples.tolist():
            if len(batch) == size:
                return
            if self._claimed.claim(example):
                batch.append(example)
