"""Mining for the cross-view task: the pool in the step, the mined table beside the batch plan."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from vigor_jax.config import ConfigError
from vigor_jax.input.mined_batches import MinedBatchPlan
from vigor_jax.input.pipeline_depth import require_known_in_time
from vigor_jax.input.sampling import BatchPlan
from vigor_jax.mining import pool
from vigor_jax.mining.feedback import FeedbackThread
from vigor_jax.mining.mined_table import MinedTable
from vigor_jax.models.cross_view import Pairs
from vigor_jax.parallel.mesh import AXIS
from vigor_jax.tasks.cross_view.config import CrossViewConfig
from vigor_jax.tasks.task import Carry, Feedback

# Steps from a batch's hardest tiles to the first batch drawn with them. Fixed, so that neither the speed of the
# devices nor how far is read ahead changes a run; and more than `pipeline_depth.PLANNED_AHEAD`, so that no batch waits
# for what a step finds, which comes to the table a little after the step is done.
LAG = 16
require_known_in_time(LAG)


class HardNegatives:
    """The hardest tiles of each training panorama, found in the steps and drawn from in the batches.

    Attributes:
      plan: of the batches, half of them mined from `config.mining.from_epoch` on.
      carry_specs: of the pool.
    """

    def __init__(
        self,
        config: CrossViewConfig,
        references: Int[np.ndarray, "examples 4"],
        city: Int[np.ndarray, "examples"],
        plan: BatchPlan,
        *,
        num_tiles: int,
    ):
        """Starts with nothing mined.

        Args:
          references: rows of the data set's tiles.
          plan: the random batches.
          num_tiles: of the data set.

        Raises:
          ConfigError: a pool that cannot hold a batch.
        """
        self._config = config
        self._num_tiles = num_tiles
        # Only these can be drawn as negatives: a tile joins a batch by one of its own panoramas.
        self._covered = np.zeros(num_tiles, bool)
        self._covered[references[:, 0]] = True
        self._capacity = min(config.mining.capacity, int(self._covered.sum()))
        tiles_a_batch = config.batch.size * (2 if config.loss.iou_weight else 1)
        if self._capacity < tiles_a_batch:
            raise ConfigError(
                f"config.mining.capacity = {config.mining.capacity}: the pool would hold {self._capacity} tiles (of "
                f"{int(self._covered.sum())} with training panoramas), fewer than the {tiles_a_batch} of one batch. "
                "Enlarge it or make config.batch.size smaller."
            )
        self._table = MinedTable(len(references), config.mining.hardest, LAG, config.batch.size)
        self._feedback = FeedbackThread(self._table)
        first_step = (config.mining.from_epoch - 1) * plan.steps_per_epoch
        self.plan = MinedBatchPlan(
            plan,
            references,
            references[:, 0],
            city,
            table=self._table,
            seed=config.seed,
            first_step=first_step,
        )
        self.carry_specs = {"pool": pool.partition_specs(AXIS)}

    def init_carry(self, dim: int, devices: int) -> Carry:
        """Makes an empty pool."""
        return {"pool": pool.empty(self._capacity, self._num_tiles, dim, devices)}

    def step(self, carry: Carry, batch: dict[str, jax.Array], pairs: Pairs, axis_name: str) -> tuple[Carry, Feedback]:
        """Puts the batch's tiles into the pool and finds the hardest of all in it for each of the batch's panoramas."""
        tiles, embeddings = batch["references"][:, :1], pairs.aerial[:, None]
        if pairs.semi_positive is not None:
            covered = jnp.asarray(self._covered)[batch["semi_positive_tile"]]
            second = jnp.where(covered, batch["semi_positive_tile"], -1)
            tiles = jnp.concatenate([tiles, second[:, None]], axis=1)
            embeddings = jnp.concatenate([embeddings, pairs.semi_positive[:, None]], axis=1)
        groups = jnp.repeat(batch["city"], tiles.shape[1])
        refreshed = pool.refresh(
            carry["pool"], tiles.reshape(-1), groups, embeddings.reshape(-1, embeddings.shape[-1]), axis_name
        )
        asking = pool.Asking(references=batch["references"], group=batch["city"])
        # A tile of another city could not join a batch of this one.
        rule = pool.other_tiles_of_group if self._config.batch.one_city else pool.other_tiles
        hardest = pool.hardest(refreshed, pairs.ground, asking, rule, self._config.mining.hardest, axis_name)
        examples = jax.lax.all_gather(batch["example"], axis_name, tiled=True, to="invarying")
        return {"pool": refreshed}, {"examples": examples, "hardest": hardest}

    def take_feedback(self, step: int, feedback: Feedback) -> None:
        """Hands a step's hardest tiles to the table once they are computed; does not wait for that."""
        self._feedback.put(step, feedback["examples"], feedback["hardest"])

    def plan_state(self) -> dict[str, Any]:
        """Stores the table, with the hardest tiles of every step so far in it."""
        self._feedback.drain()
        return self._table.state()

    def restore_plan(self, state: dict[str, Any]) -> None:
        """Goes on from a stored table."""
        self._table.restore(state)

    def close(self) -> None:
        """Ends the thread that fills the table, and all waiting for it; can be called again."""
        try:
            self._feedback.close()
        finally:
            self._table.close()
