"""Cross-view geo-localization as a task: street panoramas and the aerial tiles that contain them (VIGOR)."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Array, Float

from vigor_jax import datasets
from vigor_jax.config import Config
from vigor_jax.datasets import protocol
from vigor_jax.input.batches import train_batches
from vigor_jax.input.sampling import BatchPlan, host_rows
from vigor_jax.losses import soft_margin_triplet
from vigor_jax.models.cross_view import CrossViewModel, with_tower_weights
from vigor_jax.models.pretrained import load_vgg16
from vigor_jax.tasks.cross_view_evaluation import Evaluation
from vigor_jax.tasks.task import Batch, LossOutput, Variables

# Equal descriptors make every triplet cost log(1 + exp(0)).
_COLLAPSED_LOSS = math.log(2)
# Letters of table 1 of the VGG paper.
_VGG_CONFIGURATIONS = {"vgg11": "A", "vgg16": "D"}


class CrossView:
    """Two towers trained by the soft-margin triplet loss and evaluated by exact retrieval."""

    selection_metric = "validation/top1"

    def __init__(self, config: Config):
        """Prepares or opens the data set, divides it, and builds the model.

        Raises:
          UserError: anything of the data, the split, the batch plan or the weights that cannot work.
        """
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
        self._train = splits.train
        panoramas = self._data.panoramas
        self._plan = BatchPlan(
            panoramas.references[self._train],
            panoramas.city[self._train],
            seed=config.seed,
            batch_size=config.batch.size,
            one_city=config.batch.one_city,
        )
        self.steps_per_epoch = self._plan.steps_per_epoch
        self.fingerprint = {
            "data": self._data.fingerprint,
            "training panoramas": hashlib.sha256(self._train.astype(np.int64).tobytes()).hexdigest(),
            "batch": dataclasses.asdict(config.batch),
        }
        model = config.model
        self._vgg, preprocessing = None, "torchvision"
        if model.pretrained:
            self._vgg, preprocessing = load_vgg16(model.pretrained)
        else:
            logging.info("The towers start from random weights, as config.model.pretrained names no file.")
        self._model = CrossViewModel(
            aggregation=model.aggregation,
            configuration=_VGG_CONFIGURATIONS[model.backbone],
            width=model.width,
            num_heads=model.num_heads,
            descriptor_dim=model.descriptor_dim,
            dropout=model.dropout,
            centre_descriptor=model.centre_descriptor,
            dtype=jnp.dtype(model.dtype),
            preprocessing=preprocessing,
            final_pool=model.final_pool,
            aggregation_std=model.aggregation_std,
            compass_heads=model.compass_heads,
        )
        self._evaluation = Evaluation(
            self._model,
            self._data,
            splits.evaluations,
            batch_size=config.eval_batch_size,
            threads=config.input_threads,
        )

    def init(self, key: jax.Array) -> Variables:
        """Fresh variables; both towers start from the pretrained weights if the config names any."""
        sizes = (self._config.data.aerial_size, self._config.data.ground_size)
        images = [jnp.zeros((1, *size, 3), jnp.uint8) for size in sizes]
        init = functools.partial(self._model.init, train=False)
        if not isinstance(key, jax.core.Tracer):  # otherwise its shapes alone are asked for
            # It runs once: on CPUs LLVM's optimisation of every layer's random draws costs more than it saves.
            options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
            init = jax.jit(init, compiler_options=options)
        variables = init(key, *images)
        return variables if self._vgg is None else with_tower_weights(variables, self._vgg)

    def batches(self, first_step: int) -> Iterator[Batch]:
        """This host's rows of `aerial` and `ground` [b, H, W, 3] uint8, `tile` and `panorama` [b] int32."""
        return train_batches(
            self._data,
            self._train,
            self._plan,
            first_step=first_step,
            augment=self._config.batch.augment,
            seed=self._config.seed,
            host_rows=host_rows(self._config.batch.size, jax.process_index(), jax.process_count()),
            threads=self._config.input_threads,
        )

    def loss(
        self, variables: Variables, batch: dict[str, jax.Array], key: jax.Array, *, axis_name: str
    ) -> tuple[jax.Array, LossOutput]:
        """Soft-margin triplet loss of the global batch."""
        # Otherwise every device would drop the same features.
        dropout = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        (aerial, ground), model_state = self._model.apply(
            variables,
            batch["aerial"],
            batch["ground"],
            train=True,
            axis_name=axis_name,
            rngs={"dropout": dropout},
            mutable=[name for name in variables if name != "params"],
        )
        loss = soft_margin_triplet(aerial, ground, self._config.loss.alpha, axis_name=axis_name)
        metrics = {"aerial_spread": _spread(aerial, axis_name), "ground_spread": _spread(ground, axis_name)}
        return loss, LossOutput(model_state=model_state, metrics=metrics)

    def evaluate(self, variables: Variables, mesh: jax.sharding.Mesh) -> dict[str, float]:
        """The six retrieval metrics of every split, beside its size, chance and the colour baselines."""
        return self._evaluation(variables, mesh)

    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        """The row of each split."""
        return self._evaluation.table(metrics)

    def diagnose(self, metrics: dict[str, float]) -> str | None:
        """Names a collapsed model: the loss at ln 2 because all descriptors of a view are equal."""
        spread = min(metrics["aerial_spread"], metrics["ground_spread"])
        if abs(metrics["loss"] - _COLLAPSED_LOSS) > 0.01 or spread > 1e-3:
            return None
        return (
            f"The model has collapsed: the loss is {metrics['loss']:.4f} (ln 2 = 0.6931) and all descriptors of a view "
            f"are equal (spread {spread:.1e}). It will not recover; try a lower config.optimizer.learning_rate, "
            "config.model.centre_descriptor=True, a larger config.model.aggregation_std or pretrained weights."
        )


def _spread(embeddings: Float[Array, "local dim"], axis_name: str) -> Float[Array, ""]:
    """Variance of the global batch's embeddings about their mean: 0 if all are equal, at most 1 for unit length."""
    embeddings = jax.lax.stop_gradient(embeddings)
    mean = jax.lax.pmean(embeddings.mean(axis=0), axis_name)
    return jax.lax.pmean(jnp.sum((embeddings - mean) ** 2, axis=1).mean(), axis_name)
