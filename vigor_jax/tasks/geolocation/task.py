"""Where on earth a photo was taken, as classification over cells that the training photos divide the globe into.

PlaNet (Weyand, Kostrikov, Philbin, ECCV 2016); MobileNet's paper trains it too (section 4.6). `docs/geolocation.md` has
the words on responsible use.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import logging

from vigor_jax.config import ConfigError
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.geocells import Cells, partition
from vigor_jax.geocells.cell_id import token
from vigor_jax.tasks.classification import task as classification
from vigor_jax.tasks.classification.task import Classification, with_splits
from vigor_jax.tasks.entry import NOTHING_RESOLVED, Resolved
from vigor_jax.tasks.geolocation.config import GeolocationConfig
from vigor_jax.tasks.geolocation.measure import GeolocationMeasure
from vigor_jax.tasks.task import ModelEvaluation
from vigor_jax.workdir.finished_run import FinishedRun
from vigor_jax.workdir.results import Results

if TYPE_CHECKING:
    from vigor_jax.report.page import Content

CELLS_FILE = "cells.json"


class Geolocation(Classification):
    """Classification whose classes are S2 cells with about equally many training photos each."""

    def __init__(self, config: GeolocationConfig, data: LabelledImages, resolved: Resolved = NOTHING_RESOLVED):
        """Divides the globe by the training photos alone, and labels all photos by it.

        Raises:
          ConfigError: the data set has no positions.
          GeocellError: no cell has enough photos; s2geometry is not installed.
          UserError: anything that `Classification` raises.
        """
        self._cells = _partition(config, data)
        data = _labelled(data, self._cells)
        super().__init__(config, data, GeolocationMeasure(data, self._cells, at=config.geocells.place_at), resolved)
        self.fingerprint["cells"] = self._cells.fingerprint

    @property
    def cells(self) -> Cells:
        """The classes."""
        return self._cells

    def report(self, workdir: Path) -> Path | None:
        """Writes `report.html`, and the cells, without which nobody could tell what the classes are."""
        self._cells.save(workdir / CELLS_FILE)
        return super().report(workdir)

    def _report_content(self, run: Results) -> "Content":
        from vigor_jax.tasks.geolocation.report import content

        return content(run, self._data)


def evaluation_of_run(
    run: FinishedRun, config: GeolocationConfig, data: LabelledImages, splits: Sequence[str]
) -> ModelEvaluation:
    """What evaluates a finished run, by the cells that it left.

    Raises:
      UserError: anything of the data, the cells or the splits.
    """
    _require_positions(data)
    path = run.workdir / CELLS_FILE
    cells = Cells.load(path) if path.exists() else _partition(config, data)
    data = with_splits(_labelled(data, cells), splits)
    measure = GeolocationMeasure(data, cells, at=config.geocells.place_at)
    return classification.evaluation_of_run(run, config, data, measure)


def _require_positions(data: LabelledImages) -> None:
    if not len(data.lat):
        raise ConfigError(
            f"config.images.name = {data.name!r}: it does not say where its photos were taken. Those that do: "
            "photo_positions, rendered_city."
        )


def _partition(config: GeolocationConfig, data: LabelledImages) -> Cells:
    """The cells of the training photos."""
    _require_positions(data)
    settings, train = config.geocells, data.train
    cells = partition(
        data.lat[train], data.lon[train], most=settings.most, fewest=settings.fewest, deepest=settings.deepest
    )
    logging.info(
        "%s cells, of %s to %s training photos; %s of %s training photos lie in none and train nothing.",
        f"{len(cells):,}",
        f"{cells.photos.min():,}",
        f"{cells.photos.max():,}",
        f"{cells.dropped_photos:,}",
        f"{len(train):,}",
    )
    return cells


def _labelled(data: LabelledImages, cells: Cells) -> LabelledImages:
    """The data with the cells as its classes; training photos that lie in none are left out."""
    labels = cells.cell_of(data.lat, data.lon).astype(np.int32)
    return dataclasses.replace(
        data,
        labels=labels,
        class_names=tuple(token(cell) for cell in cells.ids.tolist()),
        train=data.train[labels[data.train] >= 0],
    )
