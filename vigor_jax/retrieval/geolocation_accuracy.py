"""How far photos are placed from where on earth they were taken (Im2GPS's measure), and how often in the right cell.

Every photo of the evaluation counts. Those that lie in no cell that training kept are never in the right one, and
their distances are measured like all others.
"""

import numpy as np
from jaxtyping import Float, Int

from vigor_jax import geometry
from vigor_jax.retrieval.class_accuracy import class_accuracy
from vigor_jax.retrieval.errors import EvaluationError

# Street, city, region, country and continent, as the field calls them (Hays and Efros, CVPR 2008; PlaNet, table 1).
_WITHIN_KM = (1, 25, 200, 750, 2500)


def geolocation_accuracy(
    true_lat: Float[np.ndarray, "photos"],
    true_lon: Float[np.ndarray, "photos"],
    placed_lat: Float[np.ndarray, "photos"],
    placed_lon: Float[np.ndarray, "photos"],
    *,
    chance_lat: float,
    chance_lon: float,
) -> dict[str, float]:
    """Shares of the photos placed at most 1, 25, 200, 750 and 2500 km off, and the median distance in km.

    Keys `within_1km` ... `within_2500km`, `median_km`, and the same with `chance_` before them for an answer that
    looks at no photo.

    Example:
      >>> import numpy as np
      >>> from vigor_jax.retrieval.geolocation_accuracy import geolocation_accuracy
      >>> equator = np.zeros(2)
      >>> figures = geolocation_accuracy(
      ...     equator, np.array([0.0, 10.0]), equator, np.array([0.1, 11.0]), chance_lat=0.0, chance_lon=90.0
      ... )
      >>> figures["within_25km"], figures["within_200km"], round(figures["median_km"], 1)
      (0.5, 1.0, 61.2)

    Args:
      true_lat: degrees in [-90, 90].
      true_lon: degrees in [-180, 180].
      placed_lat: degrees, as predicted.
      placed_lon: degrees.
      chance_lat: degrees, of the one place that chance answers: the centre of the cell with the most training photos.
      chance_lon: degrees.

    Raises:
      EvaluationError: no photos, or a position that is none, by its row.
    """
    if not len(true_lat):
        raise EvaluationError("no photo was placed, so there is no distance to count.")
    for what, lat, lon in (("true", true_lat, true_lon), ("predicted", placed_lat, placed_lon)):
        bad = np.flatnonzero(~((np.abs(lat) <= 90) & (np.abs(lon) <= 180)))
        if len(bad):
            raise EvaluationError(
                f"{len(bad):,} of {len(lat):,} {what} positions are none; the first is row {bad[0]}: latitude "
                f"{lat[bad[0]]}, longitude {lon[bad[0]]}."
            )
    placed = geometry.great_circle_m(true_lat, true_lon, placed_lat, placed_lon)
    chance = geometry.great_circle_m(true_lat, true_lon, chance_lat, chance_lon)
    return _summary(placed, "") | _summary(chance, "chance_")


def cell_accuracy(
    cell: Int[np.ndarray, "photos"], scores: Float[np.ndarray, "photos classes"], *, most_frequent: int
) -> dict[str, float]:
    """Shares of all photos: `top1` and `top5`, `covered`, `chance_top1`.

    `covered` is the share that lies in a kept cell, the most that any classifier reaches. Chance answers the cell with
    the most training photos. Ties count against the model.

    Example:
      >>> import numpy as np
      >>> from vigor_jax.retrieval.geolocation_accuracy import cell_accuracy
      >>> scores = np.array([[0.9, 0.1], [0.8, 0.2]])
      >>> cell_accuracy(np.array([0, -1]), scores, most_frequent=0)  # the second photo lies in no kept cell
      {'top1': 0.5, 'top5': 0.5, 'covered': 0.5, 'chance_top1': 0.5}

    Args:
      cell: the class of each photo's true position; -1, in no kept cell, is an error.
      scores: of the classes, in the same order as the probabilities.
      most_frequent: class with the most training photos.

    Raises:
      EvaluationError: no photos, a class that there is not, or scores that are not finite, by their row.
    """
    return {
        **class_accuracy(cell, scores),
        "covered": float(np.mean(cell >= 0)),
        "chance_top1": float(np.mean(cell == most_frequent)),
    }


def _summary(distance_m: Float[np.ndarray, "photos"], prefix: str) -> dict[str, float]:
    shares = {f"{prefix}within_{limit}km": float(np.mean(distance_m <= 1000 * limit)) for limit in _WITHIN_KM}
    return shares | {f"{prefix}median_km": float(np.median(distance_m) / 1000)}
