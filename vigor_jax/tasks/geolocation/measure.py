"""What class probabilities are worth where the classes are cells of the globe: metres, and the right cell."""

from typing import Literal

import numpy as np
from jaxtyping import Float32, Int

from vigor_jax import geometry
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.geocells import Cells, predicted_position
from vigor_jax.retrieval.geolocation_accuracy import cell_accuracy, geolocation_accuracy

_CHANCE = "chance_"
_SHOWN_KM = (1, 25, 200, 750, 2500)


class GeolocationMeasure:
    """Im2GPS's shares and the cell's accuracy, beside the most photographed cell and the nearest photo by pixels."""

    of_model = ("top1", "top5", *(f"within_{limit}km" for limit in _SHOWN_KM), "median_km")

    def __init__(self, data: LabelledImages, cells: Cells, *, at: Literal["most_probable", "mean"]):
        """Names what is measured.

        Args:
          data: with positions; its labels are those of the cells.
          cells: the classes.
          at: where of the cells a photo is placed (`geocells.predicted_position`).
        """
        self._data, self._cells, self._at = data, cells, at

    def metrics(
        self, rows: Int[np.ndarray, "images"], probabilities: Float32[np.ndarray, "images classes"]
    ) -> dict[str, float]:
        """Those of `cell_accuracy` and `geolocation_accuracy`, and `images`."""
        cells = self._cells
        return {
            **cell_accuracy(self._data.labels[rows], probabilities, most_frequent=cells.most_frequent),
            **self._accuracy(rows, *predicted_position(cells, probabilities, at=self._at)),
            "images": float(len(rows)),
        }

    def of_neighbours(self, rows: Int[np.ndarray, "images"], neighbours: Int[np.ndarray, "images"]) -> dict[str, float]:
        """Those of `geolocation_accuracy`, each photo placed where its neighbour was taken."""
        placed = self._accuracy(rows, self._data.lat[neighbours], self._data.lon[neighbours])
        return {name: value for name, value in placed.items() if not name.startswith(_CHANCE)}

    def of_images(
        self, rows: Int[np.ndarray, "images"], probabilities: Float32[np.ndarray, "images classes"]
    ) -> dict[str, np.ndarray]:
        """`placed_lat` and `placed_lon` in degrees, `error_km` from the true position, and `chance_km` from it to the
        centre of the cell with the most training photos.
        """
        cells, most = self._cells, self._cells.most_frequent
        placed = predicted_position(cells, probabilities, at=self._at)
        true = self._data.lat[rows], self._data.lon[rows]
        return {
            "placed_lat": placed[0],
            "placed_lon": placed[1],
            "error_km": geometry.great_circle_m(*true, *placed) / 1000,
            "chance_km": geometry.great_circle_m(*true, cells.lat[most], cells.lon[most]) / 1000,
        }

    def columns(self, metrics: dict[str, float]) -> dict[str, str]:
        """Percent and kilometres."""
        within = {f"{limit} km": f"within_{limit}km" for limit in _SHOWN_KM}
        return {
            "cell": _percent(metrics["top1"]),
            **{name: _percent(metrics[key]) for name, key in within.items()},
            "median km": f"{metrics['median_km']:.0f}",
            "covered": _percent(metrics["covered"]),
            "chance 25 km": _percent(metrics["chance_within_25km"]),
            "pixels 25 km": _percent(metrics["pixel_neighbour_within_25km"]),
            "images": f"{metrics['images']:.0f}",
        }

    def _accuracy(self, rows: Int[np.ndarray, "images"], lat: np.ndarray, lon: np.ndarray) -> dict[str, float]:
        most = self._cells.most_frequent
        return geolocation_accuracy(
            self._data.lat[rows],
            self._data.lon[rows],
            lat,
            lon,
            chance_lat=float(self._cells.lat[most]),
            chance_lon=float(self._cells.lon[most]),
        )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
