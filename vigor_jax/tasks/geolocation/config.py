"""What a run of geolocation may be told."""

import dataclasses
from typing import Literal

from vigor_jax.config import Require
from vigor_jax.tasks.classification.config import ClassificationConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeocellConfig:
    """The cells of the globe that geolocation chooses among; see docs/geolocation.md."""

    most: int = 10_000  # training photos in a cell, beyond which it is divided; PlaNet's, for 91 million photos
    fewest: int = 50  # below which it is dropped with its photos; likewise
    deepest: int = 30  # S2's level at which dividing ends; 12 is some 2 km, 30 a centimetre
    place_at: Literal["most_probable", "mean"] = "most_probable"  # the centre of that cell, or of all by probability


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeolocationConfig(ClassificationConfig):
    """Of `geolocation`."""

    geocells: GeocellConfig

    def check(self, require: Require) -> None:
        """Refuses, beside what no classifier can have, cells that cannot be."""
        super().check(require)
        cells = self.geocells
        require(cells.fewest >= 1, "geocells.fewest", "a cell holds at least one photo")
        require(cells.most >= cells.fewest, "geocells.most", f"at least config.geocells.fewest = {cells.fewest}")
        require(0 <= cells.deepest <= 30, "geocells.deepest", "S2's levels are 0 to 30")
