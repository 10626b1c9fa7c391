"""Cross-view geo-localization as a task: street panoramas and the aerial tiles that contain them (VIGOR)."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Float

from vigor_jax import geometry
from vigor_jax.encoding.stopping import never
from vigor_jax.input.batches import Hybrid
from vigor_jax.losses import iou_difference, iou_ratio, offset_classification, offset_regression, soft_margin_triplet
from vigor_jax.models.offset_cells import cell_of, require_covered
from vigor_jax.models.variables import Variables
from vigor_jax.tasks.cross_view.config import CrossViewConfig
from vigor_jax.tasks.cross_view.evaluation import Evaluation
from vigor_jax.tasks.cross_view.hard_negatives import HardNegatives
from vigor_jax.tasks.cross_view.model import cross_view_model, embedding_dim, offset_of
from vigor_jax.tasks.cross_view.pairs import PairTraining, load_splits
from vigor_jax.tasks.cross_view.towers import TrainedTowers, check_towers, read_weights
from vigor_jax.tasks.entry import NOTHING_RESOLVED, Resolved
from vigor_jax.tasks.task import Batch, Carry, Evaluated, Feedback, LossOutput, Task
from vigor_jax.workdir.finished_run import FinishedRun

# Equal descriptors make every triplet cost log(1 + exp(0)).
_COLLAPSED_LOSS = math.log(2)


class CrossView(Task):
    """Two towers trained by VIGOR's losses and evaluated by exact retrieval and the distance in metres."""

    selection_metric: str | None = "validation/top1"

    def __init__(self, config: CrossViewConfig, resolved: Resolved = NOTHING_RESOLVED):
        """Prepares or opens the data set, divides it, and builds the model; `resolved` is of an earlier start.

        Raises:
          UserError: anything of the towers, the data, the split, the batch plan or the weights that cannot work.
        """
        self._towers = TrainedTowers(config, resolved)  # first: preparing data may take minutes
        self._config = config
        self._pairs = PairTraining(config)
        self.selection_metric = self._pairs.selection_metric
        self.steps_per_epoch = self._pairs.steps_per_epoch
        self.fingerprint = self._pairs.fingerprint | {"mining": dataclasses.asdict(config.mining)}
        loss, panoramas, train = config.loss, self._pairs.data.panoramas, self._pairs.train
        self._hybrid = None
        if loss.is_hybrid:
            self._hybrid = Hybrid(
                first_step=(loss.hybrid_from_epoch - 1) * self.steps_per_epoch,
                semi_positives=loss.iou_weight > 0,
                drop_uncovering=loss.uncovering_semi_positives == "drop",
                offsets=loss.offset_weight > 0,
            )
            self.fingerprint["hybrid"] = {"first_step": self._hybrid.first_step}
            if self._hybrid.semi_positives:
                self.fingerprint["hybrid"]["drop_uncovering"] = self._hybrid.drop_uncovering
        if config.model.offset_head == "classification":
            require_covered(panoramas.offset_px[train, 0] / (geometry.TILE_PX / 2))
        self._mining, self._plan = None, self._pairs.plan
        if config.mining.enabled:
            references, city = panoramas.references[train], panoramas.city[train]
            self._mining = HardNegatives(config, references, city, self._plan, num_tiles=len(self._pairs.data.tiles))
            self._plan, self.carry_specs = self._mining.plan, self._mining.carry_specs
        self.resolved, self.memory_keys = self._towers.resolved, self._towers.memory_keys
        self._evaluation = Evaluation.of(
            config, self._towers.model, self._pairs.data, self._pairs.evaluations, offset=offset_of(config.model)
        )

    def init(self, key: jax.Array) -> Variables:
        """Makes fresh variables; both towers start from the pretrained weights if the config names any."""
        return self._towers.init(key)

    def init_carry(self, devices: int) -> Carry:
        """The empty mining pool, if negatives are mined."""
        if self._mining is None:
            return super().init_carry(devices)
        return self._mining.init_carry(embedding_dim(self._towers.model, self._config.data.aerial_size), devices)

    def batches(self, first_step: int) -> Iterator[Batch]:
        """This host's rows of the batches that `input.batches.train_batches` describes."""
        return self._pairs.batches(
            first_step, plan=self._plan, for_mining=self._mining is not None, hybrid=self._hybrid
        )

    def loss(
        self,
        variables: Variables,
        batch: dict[str, jax.Array],
        key: jax.Array,
        *,
        carry: Carry,
        axis_name: str,
    ) -> tuple[jax.Array, LossOutput]:
        """Soft-margin triplet loss of the global batch; in the hybrid phase with IOU loss, offset loss or both."""
        weights = self._config.loss
        # A loss of weight 0 must not be computed: 0 times a gradient that is not finite is NaN.
        semi_positive = batch.get("semi_positive") if weights.iou_weight else None
        offset = batch.get("offset") if weights.offset_weight else None
        pairs, model_state, spreads = self._towers.pairs(variables, batch, semi_positive, key, axis_name)
        loss = soft_margin_triplet(pairs.aerial, pairs.ground, weights.alpha, axis_name=axis_name)
        metrics = spreads | {"triplet_loss": loss}
        if pairs.semi_positive is not None:
            iou_loss = {"ratio": iou_ratio, "difference": iou_difference}[weights.iou_form]
            metrics["iou_loss"] = iou_loss(
                pairs.ground,
                pairs.aerial,
                pairs.semi_positive,
                batch["iou_ratio"],
                valid=batch["semi_positive_counts"],
                axis_name=axis_name,
            )
            loss += weights.iou_weight * metrics["iou_loss"]
        if offset is not None:
            metrics["offset_loss"] = self._offset_loss(pairs.offset, offset, axis_name)
            loss += weights.offset_weight * metrics["offset_loss"]
        output = LossOutput(model_state=model_state, metrics=metrics)
        if self._mining is not None:
            carry, feedback = self._mining.step(carry, batch, pairs, axis_name)
            output = dataclasses.replace(output, carry=carry, feedback=feedback)
        return loss, output

    def _offset_loss(
        self, predicted: Float[Array, "local outputs"], offset: Float[Array, "local 2"], axis_name: str
    ) -> Float[Array, ""]:
        if self._config.model.offset_head == "regression":
            return offset_regression(predicted, offset, axis_name=axis_name)
        return offset_classification(predicted, cell_of(offset), axis_name=axis_name)

    def take_feedback(self, step: int, feedback: Feedback) -> None:
        """The hardest tiles of the batch's panoramas, if negatives are mined."""
        if self._mining is not None:
            self._mining.take_feedback(step, feedback)

    def plan_state(self) -> dict[str, np.ndarray]:
        """The mined table, if negatives are mined."""
        return {} if self._mining is None else self._mining.plan_state()

    def restore_plan(self, state: dict[str, np.ndarray]) -> None:
        """Puts the mined table back, if negatives are mined."""
        if self._mining is not None:
            self._mining.restore_plan(state)

    def close(self) -> None:
        """Ends the thread that records what was mined, if negatives are mined."""
        if self._mining is not None:
            self._mining.close()

    def evaluate(
        self, variables: Variables, mesh: jax.sharding.Mesh, should_stop: Callable[[], bool] = never
    ) -> Evaluated:
        """Retrieval and positions of every split, beside its size, chance and the colour baselines."""
        return self._evaluation(variables, mesh, should_stop)

    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        """The row of each split."""
        return self._evaluation.table(metrics)

    def report(self, workdir: Path) -> Path | None:
        """Writes `report.html`."""
        # Its libraries take a second to load, which a start need not wait for.
        from vigor_jax import report
        from vigor_jax.tasks.cross_view.report import content

        return report.write(workdir, functools.partial(content, data=self._pairs.data))

    def diagnose(self, metrics: dict[str, float]) -> str | None:
        """Names a collapsed model: the loss at ln 2 because all descriptors of a view are equal."""
        smallest = min(metrics["aerial_spread"], metrics["ground_spread"])
        triplet = metrics["triplet_loss"]
        if abs(triplet - _COLLAPSED_LOSS) > 0.01 or smallest > 1e-3:
            return None
        return (
            f"The model has collapsed: the triplet loss is {triplet:.4f} (ln 2 = 0.6931) and all descriptors of a view "
            f"are equal (spread {smallest:.1e}). It will not recover; try a lower config.optimizer.learning_rate, "
            "config.model.centre_descriptor=True, a larger config.model.aggregation_std or pretrained weights."
        )


def evaluation_of_run(run: FinishedRun, config: CrossViewConfig, splits: Sequence[str]) -> Evaluation:
    """Makes what evaluates a finished run, of the cities of the splits alone.

    Raises:
      UserError: anything of the towers, the data or the splits.
    """
    check_towers(config)
    data, found = load_splits(config, splits)
    _, preprocessing = read_weights(config.model, run.resolved.get("preprocessing"))
    model = cross_view_model(config.model, preprocessing)
    return Evaluation.of(config, model, data, found, offset=offset_of(config.model))
