"""Where on earth a photo was taken, as classification over cells that the training photos divide the globe into.

PlaNet (Weyand, Kostrikov, Philbin, ECCV 2016); MobileNet's paper trains it too (section 4.6). `docs/geolocation.md` has
the words on responsible use.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import logging

from vigor_jax.config import ConfigError
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.geocells import Cells, partition
from vigor_jax.geocells.cell_id import token
from vigor_jax.tasks.classification.task import Classification
from vigor_jax.tasks.geolocation.config import GeolocationConfig
from vigor_jax.tasks.geolocation.measure import GeolocationMeasure
from vigor_jax.workdir.results import Results

if TYPE_CHECKING:
    from vigor_jax.report.page import Content

CELLS_FILE = "cells.json"


class Geolocation(Classification):
    """Classification whose classes are S2 cells with about equally many training photos each."""

    def __init__(self, config: GeolocationConfig, data: LabelledImages):
        """Divides the globe by the training photos alone, and labels all photos by it.

        Raises:
          ConfigError: the data set has no positions.
          GeocellError: no cell has enough photos; s2geometry is not installed.
          UserError: anything that `Classification` raises.
        """
        if not len(data.lat):
            raise ConfigError(
                f"config.images.name = {data.name!r}: it does not say where its photos were taken. Those that do: "
                "photo_positions, rendered_city."
            )
        settings = config.geocells
        train = data.train
        self._cells = partition(
            data.lat[train], data.lon[train], most=settings.most, fewest=settings.fewest, deepest=settings.deepest
        )
        cells = self._cells
        labels = cells.cell_of(data.lat, data.lon).astype(np.int32)
        logging.info(
            "%s cells, of %s to %s training photos; %s of %s training photos lie in none and train nothing.",
            f"{len(cells):,}",
            f"{cells.photos.min():,}",
            f"{cells.photos.max():,}",
            f"{cells.dropped_photos:,}",
            f"{len(train):,}",
        )
        data = dataclasses.replace(
            data,
            labels=labels,
            class_names=tuple(token(cell) for cell in cells.ids.tolist()),
            train=train[labels[train] >= 0],
        )
        super().__init__(config, data, GeolocationMeasure(data, cells, at=settings.place_at))
        self.fingerprint["cells"] = cells.fingerprint

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
