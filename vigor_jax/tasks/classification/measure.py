"""What an evaluation makes of the class probabilities of a split: figures, what is found of single images, a row."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int

from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.retrieval.class_accuracy import class_accuracy

_SHOWN = 5  # classes an image that the report shows


@runtime_checkable
class Measure(Protocol):
    """What is asked about probabilities, of classes that folders or positions gave the images.

    Attributes:
      of_model: those of the metrics that depend on the probabilities, and so on how they are come by.
    """

    of_model: tuple[str, ...]

    def metrics(
        self, rows: Int[np.ndarray, "images"], probabilities: Float32[np.ndarray, "images classes"]
    ) -> dict[str, float]:
        """Figures of the model, and of chance, which looks at no image."""
        ...

    def of_neighbours(self, rows: Int[np.ndarray, "images"], neighbours: Int[np.ndarray, "images"]) -> dict[str, float]:
        """The same figures, as far as they can be told, for an answer by one training image each."""
        ...

    def of_images(
        self, rows: Int[np.ndarray, "images"], probabilities: Float32[np.ndarray, "images classes"]
    ) -> dict[str, np.ndarray]:
        """What is found of single images beyond their classes, for the report: [images] each."""
        ...

    def columns(self, metrics: dict[str, float]) -> dict[str, str]:
        """What the epoch table prints of the figures of a split."""
        ...


class ClassMeasure:
    """Top-1 and top-5, beside chance and the nearest training image by its pixels."""

    of_model = ("top1", "top5", "mean_class_top1")

    def __init__(self, data: LabelledImages):
        """Counts the training images of each class."""
        self._labels = data.labels
        self._classes = len(data.class_names)
        self._most_frequent = int(np.argmax(np.bincount(data.labels[data.train], minlength=self._classes)))

    def metrics(
        self, rows: Int[np.ndarray, "images"], probabilities: Float32[np.ndarray, "images classes"]
    ) -> dict[str, float]:
        """`top1`, `top5`, `mean_class_top1` (each class counts alike), `images`; `chance_top1` is random guessing,
        `most_frequent_top1` the class with the most training images for every image.
        """
        labels = self._labels[rows]
        right = probabilities.argmax(axis=1) == labels
        there = np.bincount(labels, minlength=self._classes)
        by_class = np.bincount(labels, right, minlength=self._classes)[there > 0] / there[there > 0]
        return {
            **class_accuracy(labels, probabilities),
            "mean_class_top1": float(by_class.mean()),
            "images": float(len(rows)),
            "chance_top1": 1 / self._classes,
            "chance_top5": min(1.0, 5 / self._classes),
            "most_frequent_top1": float(np.mean(labels == self._most_frequent)),
        }

    def of_neighbours(self, rows: Int[np.ndarray, "images"], neighbours: Int[np.ndarray, "images"]) -> dict[str, float]:
        """`top1`."""
        return {"top1": float(np.mean(self._labels[rows] == self._labels[neighbours]))}

    def of_images(
        self, rows: Int[np.ndarray, "images"], probabilities: Float32[np.ndarray, "images classes"]
    ) -> dict[str, np.ndarray]:
        """Nothing."""
        return {}

    def columns(self, metrics: dict[str, float]) -> dict[str, str]:
        """In percent."""

        def percent(name: str) -> str:
            return f"{100 * metrics[name]:.1f}"

        return {
            "top-1": percent("top1"),
            "top-5": percent("top5"),
            "mean class": percent("mean_class_top1"),
            "images": f"{metrics['images']:.0f}",
            "chance@1": percent("chance_top1"),
            "most frequent@1": percent("most_frequent_top1"),
            "pixels@1": percent("pixel_neighbour_top1"),
        }


def most_probable(
    probabilities: Float32[np.ndarray, "images classes"],
) -> tuple[Int[np.ndarray, "images shown"], Float32[np.ndarray, "images shown"]]:
    """(classes, probabilities) of the five most probable classes of each image, or of all if there are fewer."""
    # Stable, so that of equals the first class is the first.
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :_SHOWN]
    return best.astype(np.int32), np.take_along_axis(probabilities, best, axis=1)
