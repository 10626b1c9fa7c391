"""ModelEvaluation of a classifier: the class probabilities of every split, measured beside what needs no network."""

from collections.abc import Callable

import numpy as np
from absl import logging
from jax.sharding import Mesh
from jaxtyping import Int, UInt8

from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.encoding.stopping import never, stop_if_asked
from vigor_jax.input.labelled_batches import centre_crops
from vigor_jax.models.classifier import Classifier
from vigor_jax.models.variables import Variables
from vigor_jax.retrieval.pixel_neighbours import pixel_neighbours
from vigor_jax.tasks.classification.config import ClassificationConfig
from vigor_jax.tasks.classification.measure import Measure, most_probable
from vigor_jax.tasks.classification.testing import ClassifierTesting
from vigor_jax.tasks.task import Evaluated, ModelEvaluation

_PIXELS = 32  # side of the images whose pixels are compared
# Training images among which the nearest is looked for: 256 MB of their pixels.
_MOST_NEIGHBOURS = 20_000


class ClassificationEvaluation(ModelEvaluation):
    """Metrics and findings of every split, as a function of the variables.

    The nearest training images by pixels do not depend on the variables: they are looked for on the way of the first
    evaluation and kept.

    Attributes:
      metrics_at_end: keys of the result of `at_end`.
    """

    def __init__(
        self, data: LabelledImages, testing: ClassifierTesting, measure: Measure, *, batch_size: int, threads: int
    ):
        """Finds what is to be classified.

        Args:
          data: the prepared data set.
          testing: gives probabilities to rows of it.
          measure: says what they are worth.
          batch_size: images decoded at a time for the comparison of pixels.
          threads: that read and decode.
        """
        self._data, self._testing, self._measure = data, testing, measure
        self._batch_size, self._threads = batch_size, threads
        self._baselines: dict[str, float] | None = None
        self.metrics_at_end = frozenset(
            f"{split}/{way}_{name}"
            for split in data.splits
            for way in testing.names_at_end
            for name in measure.of_model
        )

    @classmethod
    def of(
        cls,
        config: ClassificationConfig,
        model: Classifier,
        preprocessing: str,
        data: LabelledImages,
        measure: Measure,
    ) -> "ClassificationEvaluation":
        """As the config says; the other arguments as of the class and of `ClassifierTesting`."""
        testing = ClassifierTesting(config, model, preprocessing, data)
        return cls(data, testing, measure, batch_size=config.eval_batch_size, threads=config.input_threads)

    def __call__(self, variables: Variables, mesh: Mesh, should_stop: Callable[[], bool] = never) -> Evaluated:
        """Evaluates every split.

        Findings: `<split>/row`, of the data set; `<split>/label`; `<split>/probable` and `<split>/probability`, the
        classes of the five highest probabilities and these; and what the measure finds of single images.

        Raises:
          EvaluationStopped: `should_stop` said so.
        """
        metrics: dict[str, float] = {}
        findings: dict[str, np.ndarray] = {}
        for split, rows in self._data.splits.items():
            probabilities = self._testing.centre_crop(variables, rows, mesh, should_stop)
            metrics |= {f"{split}/{name}": value for name, value in self._measure.metrics(rows, probabilities).items()}
            probable, probability = most_probable(probabilities)
            found = {"row": rows, "label": self._data.labels[rows], "probable": probable, "probability": probability}
            found |= self._measure.of_images(rows, probabilities)
            findings |= {f"{split}/{name}": array for name, array in found.items()}
        if self._baselines is None:
            self._baselines = self._measured_baselines(should_stop)
        return Evaluated(metrics | self._baselines, findings)

    def at_end(self, variables: Variables, mesh: Mesh, should_stop: Callable[[], bool] = never) -> dict[str, float]:
        """`<split>/dense_top1` and the like, of every way of testing that is kept for the end of a run.

        Raises:
          EvaluationStopped: `should_stop` said so.
        """
        metrics: dict[str, float] = {}
        for split, rows in self._data.splits.items():
            for way, probabilities in self._testing.at_end(variables, rows, mesh, should_stop):
                measured = self._measure.metrics(rows, probabilities)
                metrics |= {f"{split}/{way}_{name}": measured[name] for name in self._measure.of_model}
        return metrics

    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        """Of each split the row of the epoch table; at the end with top-1 by every further way of testing."""
        there = {name.split("/")[0] for name in metrics}
        return {split: self._row(split, metrics) for split in self._data.splits if split in there}

    def _row(self, split: str, metrics: dict[str, float]) -> dict[str, str]:
        mine = {
            name.removeprefix(f"{split}/"): value for name, value in metrics.items() if name.startswith(f"{split}/")
        }
        at_end = {way: mine[f"{way}_top1"] for way in self._testing.names_at_end if f"{way}_top1" in mine}
        return self._measure.columns(mine) | {f"{way}@1": f"{100 * value:.1f}" for way, value in at_end.items()}

    def _measured_baselines(self, should_stop: Callable[[], bool]) -> dict[str, float]:
        """`<split>/pixel_neighbour_...`: as if each image were what the nearest training image by its pixels is."""
        train = self._data.train
        if len(train) > _MOST_NEIGHBOURS:
            logging.info(
                "The baseline of nearest pixels looks among %s of the %s training images, at equal distances.",
                f"{_MOST_NEIGHBOURS:,}",
                f"{len(train):,}",
            )
            train = train[np.linspace(0, len(train) - 1, _MOST_NEIGHBOURS).round().astype(int)]
        training = self._pixels(train, should_stop)
        found: dict[str, float] = {}
        for split, rows in self._data.splits.items():
            neighbours = train[pixel_neighbours(self._pixels(rows, should_stop), training)]
            measured = self._measure.of_neighbours(rows, neighbours)
            found |= {f"{split}/pixel_neighbour_{name}": value for name, value in measured.items()}
        return found

    def _pixels(
        self, rows: Int[np.ndarray, "images"], should_stop: Callable[[], bool]
    ) -> UInt8[np.ndarray, "images side side 3"]:
        """The middle of each image, small; every host reads all of them."""
        pixels = np.empty((len(rows), _PIXELS, _PIXELS, 3), np.uint8)
        batches = centre_crops(
            self._data,
            rows,
            crop=_PIXELS,
            scale=_PIXELS,
            batch_size=self._batch_size,
            host_rows=slice(0, self._batch_size),
            threads=self._threads,
        )
        for number, batch in enumerate(batches):
            part = pixels[number * self._batch_size :][: self._batch_size]
            part[:] = batch["image"][: len(part)]
            stop_if_asked(should_stop)
        return pixels
