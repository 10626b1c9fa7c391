"""Cross-view geo-localization as a task: street panoramas and the aerial tiles that contain them (VIGOR)."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from absl import logging
from jaxtyping import Array, Float

from vigor_jax import datasets, geometry
from vigor_jax.datasets import protocol
from vigor_jax.encoding.stopping import never
from vigor_jax.input.batches import Hybrid, train_batches
from vigor_jax.input.sampling import BatchPlan, host_rows
from vigor_jax.losses import iou_difference, iou_ratio, offset_classification, offset_regression, soft_margin_triplet
from vigor_jax.models import registry
from vigor_jax.models.cross_view import CrossViewModel, training_pairs
from vigor_jax.models.embedder import with_tower_weights
from vigor_jax.models.offset_cells import cell_of, require_covered
from vigor_jax.models.variables import Variables
from vigor_jax.tasks.cross_view.config import PairConfig
from vigor_jax.tasks.cross_view.evaluation import Evaluation
from vigor_jax.tasks.cross_view.hard_negatives import HardNegatives
from vigor_jax.tasks.cross_view.model import cross_view_model, embedding_dim, offset_of
from vigor_jax.tasks.cross_view.towers import check_towers, read_weights
from vigor_jax.tasks.embedding_spread import spread
from vigor_jax.tasks.task import Batch, Carry, Evaluated, Feedback, LossOutput, Task

# Equal descriptors make every triplet cost log(1 + exp(0)).
_COLLAPSED_LOSS = math.log(2)


class CrossView(Task):
    """Two towers trained by VIGOR's losses and evaluated by exact retrieval and the distance in metres."""

    selection_metric: str | None = "validation/top1"

    def __init__(self, config: PairConfig):
        """Prepares or opens the data set, divides it, and builds the model.

        Raises:
          UserError: anything of the towers, the data, the split, the batch plan or the weights that cannot work.
        """
        check_towers(config)  # first: preparing data may take minutes
        self._config = config
        self._data = datasets.load(config.data, config.rendered_city)
        splits = protocol.split(
            self._data,
            train_cities=config.data.train_cities,
            test_cities=config.data.test_cities,
            protocols=config.data.protocols,
            same_area_cities=config.data.same_area_cities,
            validation_fraction=config.data.validation_fraction,
        )
        if "validation" not in splits.evaluations:
            self.selection_metric = None
        self._train = splits.train
        panoramas = self._data.panoramas
        references, city = panoramas.references[self._train], panoramas.city[self._train]
        plan = BatchPlan(
            references, city, seed=config.seed, batch_size=config.batch.size, one_city=config.batch.one_city
        )
        self.steps_per_epoch = plan.steps_per_epoch
        self.fingerprint = {
            "data": self._data.fingerprint,
            "training panoramas": hashlib.sha256(self._train.astype(np.int64).tobytes()).hexdigest(),
            "batch": dataclasses.asdict(config.batch),
            "mining": dataclasses.asdict(config.mining),
        }
        loss = config.loss
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
            require_covered(panoramas.offset_px[self._train, 0] / (geometry.TILE_PX / 2))
        self._weights, preprocessing = read_weights(config.model)
        if self._weights is None:
            logging.info("The towers start from random weights, as config.model.pretrained names no file.")
        self._model = self._create_model(preprocessing)
        self._mining = None
        if config.mining.enabled:
            self._mining = HardNegatives(config, references, city, plan, num_tiles=len(self._data.tiles))
            self._plan, self.carry_specs = self._mining.plan, self._mining.carry_specs
        else:
            self._plan = plan
        self.memory_keys = _memory_keys(config)
        self._splits = splits.evaluations
        self._evaluation = self._evaluation_of(self._model, offset_of(config.model))

    def _create_model(self, preprocessing: str) -> CrossViewModel:
        return cross_view_model(self._config.model, preprocessing)

    def _evaluation_of(self, model: CrossViewModel, offset: Callable[[jax.Array], jax.Array] | None) -> Evaluation:
        config = self._config
        return Evaluation(
            model,
            self._data,
            self._splits,
            batch_size=config.eval_batch_size,
            threads=config.input_threads,
            offset=offset,
            symmetries=config.eval_symmetries,
            seed=config.seed,
        )

    def init(self, key: jax.Array) -> Variables:
        """Fresh variables; both towers start from the pretrained weights if the config names any."""
        sizes = (self._config.data.aerial_size, self._config.data.ground_size)
        images = [np.zeros((1, *size, 3), np.uint8) for size in sizes]
        init = functools.partial(self._model.init, train=False)
        if not isinstance(key, jax.core.Tracer):  # otherwise its shapes alone are asked for
            # It runs once: on CPUs LLVM's optimisation of every layer's random draws costs more than it saves.
            options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
            init = jax.jit(init, compiler_options=options)
        variables = init(key, *images)
        return variables if self._weights is None else with_tower_weights(variables, self._weights)

    def init_carry(self, devices: int) -> Carry:
        """The empty mining pool, if negatives are mined."""
        if self._mining is None:
            return super().init_carry(devices)
        return self._mining.init_carry(embedding_dim(self._model, self._config.data.aerial_size), devices)

    def batches(self, first_step: int) -> Iterator[Batch]:
        """This host's rows of the batches that `input.batches.train_batches` describes."""
        return train_batches(
            self._data,
            self._train,
            self._plan,
            first_step=first_step,
            augment=self._config.batch.augment,
            seed=self._config.seed,
            host_rows=host_rows(self._config.batch.size, jax.process_index(), jax.process_count()),
            threads=self._config.input_threads,
            for_mining=self._mining is not None,
            hybrid=self._hybrid,
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
        # Otherwise every device would drop the same features.
        dropout = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        weights = self._config.loss
        # A loss of weight 0 must not be computed: 0 times a gradient that is not finite is NaN.
        semi_positive = batch.get("semi_positive") if weights.iou_weight else None
        offset = batch.get("offset") if weights.offset_weight else None
        pairs, model_state = training_pairs(
            self._model,
            variables,
            batch["aerial"],
            batch["ground"],
            semi_positive,
            dropout=dropout,
            micro_batch_size=self._config.micro_batch_size,
            axis_name=axis_name,
        )
        loss = soft_margin_triplet(pairs.aerial, pairs.ground, weights.alpha, axis_name=axis_name)
        metrics = {
            "aerial_spread": spread(pairs.aerial, axis_name),
            "ground_spread": spread(pairs.ground, axis_name),
            "triplet_loss": loss,
        }
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

        return report.write(workdir, functools.partial(content, data=self._data))

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


def _memory_keys(config: PairConfig) -> dict[str, str]:
    keys = {
        "model.remat": "True: activations are computed again in the backward pass; the same loss, a third more work"
    }
    if not registry.entry(config.model.backbone).normalises_by_batch:
        parts = "pairs encoded at a time, 0 for all of a device's at once: fewer; still the loss of the whole batch, a "
        keys["micro_batch_size"] = f"{parts}third more work"
    return keys | {"batch.size": "fewer; each query then learns from fewer negatives"}
