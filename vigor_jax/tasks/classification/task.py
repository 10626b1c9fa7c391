"""Classification of images as a task: one network, one label an image."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Array, Float

from vigor_jax.config import ConfigError
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.encoding.stopping import never
from vigor_jax.losses import cross_entropy
from vigor_jax.losses.batch_mean import batch_mean
from vigor_jax.models.preprocessing import preprocess
from vigor_jax.models.pretrained.conversion import filled
from vigor_jax.models.variables import Variables
from vigor_jax.models.vgg_from_shallower import vgg_from_shallower
from vigor_jax.parallel.mesh import AXIS
from vigor_jax.tasks.classification import network, shallower_vgg
from vigor_jax.tasks.classification.config import ClassificationConfig
from vigor_jax.tasks.classification.evaluation import ClassificationEvaluation
from vigor_jax.tasks.classification.measure import Measure
from vigor_jax.tasks.entry import NOTHING_RESOLVED, Resolved
from vigor_jax.tasks.photo_training import PhotoTraining
from vigor_jax.tasks.task import Batch, Carry, Evaluated, LossOutput, Task, chosen_splits
from vigor_jax.workdir.finished_run import FinishedRun
from vigor_jax.workdir.results import Results

if TYPE_CHECKING:
    from vigor_jax.report.page import Content


class Classification(Task):
    """A network trained by cross-entropy and measured by how often its most probable class is right."""

    selection_metric = "validation/top1"
    memory_keys = Task.memory_keys | {"images.crop": "smaller; another result"}

    def __init__(
        self,
        config: ClassificationConfig,
        data: LabelledImages,
        measure: Measure,
        resolved: Resolved = NOTHING_RESOLVED,
    ):
        """Builds the model and plans the batches.

        Args:
          config: with the groups `images` and `classifier`.
          data: whose `train` rows have a label each.
          measure: what probabilities are worth.
          resolved: by an earlier start, which makes what the network starts from needless, be it a weight file or a
            shallower network's run, unless a fresh state is asked for.

        Raises:
          UserError: there is no such backbone; weights that do not fit; fewer images than a batch holds; no finished
            run of the shallower network.
          ConfigError: the backbone cannot be tested as asked; the shallower network is none that it can start from.
        """
        self._config, self._data = config, data
        chosen = config.classifier
        # What it starts from is read now: if it does not fit, that is to end the run at once.
        self._model, self._preprocessing, self._pretrained = network.of(
            config, len(data.class_names), axis_name=AXIS, preprocessing=resolved.get("preprocessing")
        )
        self._shallower = None if resolved else shallower_vgg.read(config)
        self.resolved = {"preprocessing": self._preprocessing}
        self._training = PhotoTraining(config, data, with_labels=True)
        self.steps_per_epoch = self._training.steps_per_epoch
        labels = hashlib.sha256(data.labels.astype(np.int64).tobytes()).hexdigest()
        self.fingerprint = self._training.fingerprint | {"labels": labels}
        if chosen.shallower:
            logging.info("%s starts from outer layers of the run in %s.", chosen.backbone, chosen.shallower)
        elif not chosen.pretrained:
            logging.info("%s starts from random weights: config.classifier.pretrained is empty.", chosen.backbone)
        self._evaluation = ClassificationEvaluation.of(config, self._model, self._preprocessing, data, measure)
        self.metrics_at_end = self._evaluation.metrics_at_end

    def init(self, key: jax.Array) -> Variables:
        """Fresh variables; what a weight file or a shallower network gave replaces theirs.

        Raises:
          UserError: the shallower network's layers are of other shapes.
        """
        side = self._config.images.crop
        fresh = jax.jit(lambda key: self._model.init(key, jnp.zeros((1, side, side, 3))))(key)
        if isinstance(key, jax.core.Tracer):  # its shapes alone are asked for, whatever it starts from
            return fresh
        chosen = self._config.classifier
        if chosen.shallower:
            return vgg_from_shallower(fresh, self._shallower or shallower_vgg.read(self._config))
        pretrained = self._pretrained or network.read_weights(self._model, chosen)[0]
        return fresh if pretrained is None else filled(pretrained, fresh)

    def batches(self, first_step: int) -> Iterator[Batch]:
        """As of `PhotoTraining`."""
        return self._training.batches(first_step)

    def loss(
        self,
        variables: Variables,
        batch: dict[str, jax.Array],
        key: jax.Array,
        *,
        carry: Carry,
        axis_name: str,
    ) -> tuple[jax.Array, LossOutput]:
        """Cross-entropy of the global batch."""
        # Otherwise every device would drop the same features.
        dropout = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        logits, model_state = self._model.apply(
            variables,
            preprocess(batch["image"], self._preprocessing, batch.get("colour_shift")),
            train=True,
            rngs={"dropout": dropout},
            mutable=[name for name in variables if name != "params"],
        )
        loss = cross_entropy(logits, batch["label"], axis_name=axis_name)
        right = (jnp.argmax(logits, axis=-1) == batch["label"]).astype(jnp.float32)
        metrics = {"top1": batch_mean(right, axis_name=axis_name), "logit_spread": _spread(logits, axis_name)}
        return loss, LossOutput(model_state=model_state, metrics=metrics)

    def evaluate(
        self, variables: Variables, mesh: jax.sharding.Mesh, should_stop: Callable[[], bool] = never
    ) -> Evaluated:
        """Metrics of every split beside the baselines, and the most probable classes of each image."""
        return self._evaluation(variables, mesh, should_stop)

    def evaluate_at_end(
        self, variables: Variables, mesh: jax.sharding.Mesh, should_stop: Callable[[], bool] = never
    ) -> dict[str, float]:
        """Metrics of every split by `config.classifier.test_protocol`, where it is more than the centre crop."""
        return self._evaluation.at_end(variables, mesh, should_stop)

    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        """The row of each split."""
        return self._evaluation.table(metrics)

    def report(self, workdir: Path) -> Path | None:
        """Writes `report.html`."""
        from vigor_jax import report  # its libraries take a second to load, which a start need not wait for

        return report.write(workdir, self._report_content)

    def _report_content(self, run: Results) -> "Content":
        from vigor_jax.tasks.classification.report import content

        return content(run, self._data)

    def diagnose(self, metrics: dict[str, float]) -> str | None:
        """Names a network that gives every image the same logits."""
        uniform = math.log(len(self._data.class_names))
        if metrics["logit_spread"] > 1e-9 or metrics["loss"] < uniform - 0.5:
            return None
        return (
            f"All images have the same logits (spread {metrics['logit_spread']:.1e}), and the loss is "
            f"{metrics['loss']:.4f}, where knowing nothing costs {uniform:.4f}: every unit of some layer is dead, or "
            "the first weights are too small to be heard. If it stays so, try a lower config.optimizer.learning_rate, "
            "config.optimizer.warmup_steps, or config.classifier.pretrained."
        )


def evaluation_of_run(
    run: FinishedRun, config: ClassificationConfig, data: LabelledImages, measure: Measure
) -> ClassificationEvaluation:
    """What evaluates a finished run on some data.

    Raises:
      ConfigError: the data is of other classes; or the backbone cannot be tested as asked.
    """
    classes = run.variables["params"]["logits"]["kernel"].shape[-1]
    if classes != len(data.class_names):
        raise ConfigError(
            f"the run in {run.workdir} tells {classes:,} classes apart, and {data.name} has {len(data.class_names):,}. "
            "Name the data that it was trained on, or other images of the same classes."
        )
    model, preprocessing, _ = network.of(
        config, classes, axis_name=None, preprocessing=run.resolved.get("preprocessing")
    )
    return ClassificationEvaluation.of(config, model, preprocessing, data, measure)


def with_splits(data: LabelledImages, splits: Sequence[str]) -> LabelledImages:
    """The data with some of its splits (all, if none is named), and its training images.

    Raises:
      ConfigError: there is no such split.
    """
    names = chosen_splits(splits, tuple(data.splits))
    left_out = {name: np.zeros(0, np.int64) for name in data.splits if name not in names}
    return dataclasses.replace(data, **left_out)


def _spread(logits: Float[Array, "local classes"], axis_name: str) -> Float[Array, ""]:
    """Variance of the global batch's logits about their mean, averaged over the classes: 0 if all are equal."""
    logits = jax.lax.stop_gradient(logits)
    mean = jax.lax.pmean(logits.mean(axis=0), axis_name)
    return jax.lax.pmean(((logits - mean) ** 2).mean(), axis_name)
