"""Fusion of classifiers (Simonyan and Zisserman, ICLR 2015, section 4.4): the mean of their class probabilities."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float32

from vigor_jax import datasets, tasks
from vigor_jax.config import Config, ConfigError
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.encoding.stopping import never
from vigor_jax.errors import UserError
from vigor_jax.models.variables import Variables
from vigor_jax.retrieval.class_accuracy import class_accuracy
from vigor_jax.tasks.classification import network
from vigor_jax.tasks.classification.probabilities import TestingProtocol
from vigor_jax.tasks.classification.testing import ClassifierTesting
from vigor_jax.workdir import finished_run


@dataclasses.dataclass(frozen=True)
class Member:
    """A finished run of a classifier, on its data.

    Attributes:
      workdir: of the run.
      config: of the run.
      data: that its config names.
      testing: as its config says.
      step: of its last checkpoint.
      variables: of it, on the host.
    """

    workdir: Path
    config: Config
    data: LabelledImages
    testing: TestingProtocol
    step: int
    variables: Variables


@dataclasses.dataclass(frozen=True)
class Fusion:
    """What the runs find by themselves and together: {"<split>/top1": value, "<split>/top5": value}.

    Attributes:
      alone: for each run, in the order of the runs.
      together: of the mean of their probabilities.
    """

    alone: tuple[dict[str, float], ...]
    together: dict[str, float]


def read(workdir: Path) -> Member:
    """A run and its data.

    Raises:
      UserError: there is no finished run, its checkpoint is damaged, or its data is missing.
      ConfigError: it is a run of another task.
    """
    run = finished_run.read(workdir, tasks.parse_stored)
    if run.config.task != "classification":
        raise ConfigError(
            f"{workdir} is a run of the task {run.config.task!r}, which gives no probabilities of classes. Name runs "
            "of 'classification'."
        )
    data = datasets.load_images(run.config.images, run.config.rendered_city)
    model, preprocessing, _ = network.of(
        run.config, len(data.class_names), axis_name=None, preprocessing=run.resolved.get("preprocessing")
    )
    testing = ClassifierTesting(run.config, model, preprocessing, data)
    return Member(workdir, run.config, data, testing, run.step, run.variables)


def require_alike(members: Sequence[Member]) -> None:
    """Requires of all runs the same classes, and in each split the same images with the same labels, in one order.

    Raises:
      UserError: names the two runs and the first difference.
    """
    first = members[0]
    for other in members[1:]:
        where = f"{first.workdir} and {other.workdir} cannot be averaged"
        ours, theirs = first.data.class_names, other.data.class_names
        if ours != theirs:
            raise UserError(f"{where}: they tell other classes apart. {_difference('class', ours, theirs)}")
        if first.data.splits.keys() != other.data.splits.keys():
            splits = " and ".join(", ".join(member.data.splits) for member in (first, other))
            raise UserError(f"{where}: they are tested on other splits, {splits}.")
        for split in first.data.splits:
            ours, theirs = _names(first.data, split), _names(other.data, split)
            if ours != theirs:
                raise UserError(
                    f"{where}: their {split} splits hold other images. {_difference('image', ours, theirs)} Train both "
                    "on the same data set with the same config.images.validation_fraction."
                )
            labels = [member.data.labels[member.data.splits[split]] for member in (first, other)]
            for name, one, another in zip(ours, *labels, strict=True):
                if one != another:
                    classes = first.data.class_names
                    raise UserError(
                        f"{where}: {name} is {classes[one]!r} in the one and {classes[another]!r} in the other."
                    )


def fuse(members: Sequence[Member], mesh: Mesh, should_stop: Callable[[], bool] = never) -> Fusion:
    """Tests each run as its config says, and the mean of their probabilities.

    Backbones, crops and ways of testing may differ.

    Args:
      members: at least one.
      mesh: of the devices that compute.
      should_stop: asked after every batch.

    Raises:
      UserError: the runs are not of the same images and classes.
      EvaluationStopped: `should_stop` said so.
    """
    require_alike(members)
    data = members[0].data
    alone: list[dict[str, float]] = []
    sums = {split: np.zeros((len(rows), len(data.class_names))) for split, rows in data.splits.items()}
    for member in members:
        chosen = member.config.classifier
        logging.info("Testing %s: %s, %s.", member.workdir, chosen.backbone, chosen.test_protocol)
        variables = jax.device_put(member.variables, NamedSharding(mesh, PartitionSpec()))
        found = {
            split: member.testing(variables, rows, mesh, should_stop) for split, rows in member.data.splits.items()
        }
        alone.append(_metrics(data, found))
        for split, probabilities in found.items():
            sums[split] += probabilities
    together = {split: (total / len(members)).astype(np.float32) for split, total in sums.items()}
    return Fusion(tuple(alone), _metrics(data, together))


def _metrics(
    data: LabelledImages, probabilities: Mapping[str, Float32[np.ndarray, "images classes"]]
) -> dict[str, float]:
    return {
        f"{split}/{name}": value
        for split, found in probabilities.items()
        for name, value in class_accuracy(data.labels[data.splits[split]], found).items()
    }


def _names(data: LabelledImages, split: str) -> tuple[str, ...]:
    return tuple(data.names[row] for row in data.splits[split].tolist())


def _difference(what: str, ours: Sequence[str], theirs: Sequence[str]) -> str:
    if len(ours) != len(theirs):
        return f"There are {len(ours):,} and {len(theirs):,}."
    index = next(index for index, (one, another) in enumerate(zip(ours, theirs, strict=True)) if one != another)
    return f"The first that differs is {what} {index}, {ours[index]!r} and {theirs[index]!r}."
