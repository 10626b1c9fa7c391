"""How many metres from its true position a query is placed (VIGOR's meter-level evaluation)."""

import numpy as np
from jaxtyping import Float

from vigor_jax import geometry
from vigor_jax.retrieval.errors import EvaluationError

_WITHIN_M = (5, 10, 25, 50)


def position_errors_m(
    query_lat: Float[np.ndarray, "queries"],
    query_lon: Float[np.ndarray, "queries"],
    tile_lat: Float[np.ndarray, "queries"],
    tile_lon: Float[np.ndarray, "queries"],
    offset_px: Float[np.ndarray, "queries 2"],
    metres_per_px: float | None = None,
) -> Float[np.ndarray, "queries"]:
    """Measures how far from each query its retrieved tile and offset place it: great-circle metres, float64.

    Example:
      >>> import numpy as np
      >>> from vigor_jax.retrieval.position import position_errors_m
      >>> here, centre = np.array([41.88]), np.array([-87.68])
      >>> north = np.array([[-100.0, 0.0]])  # a hundred pixels
      >>> position_errors_m(here, centre, here, centre, north).round(1).tolist()
      [11.1]

    Args:
      query_lat: degrees, the truth.
      query_lon: degrees.
      tile_lat: degrees, of the centre of the tile retrieved for each query.
      tile_lon: degrees.
      offset_px: predicted offsets as of `geometry.tile_offset`, in pixels of the 640 px tile; zeros place the query at
        the centre of its tile.
      metres_per_px: None: by Web Mercator; 0.114: as the authors do in every city. See `geometry.locate`.

    Raises:
      EvaluationError: a predicted offset that is not finite, or a true or retrieved position that is none.
    """
    bad = np.flatnonzero(~np.isfinite(offset_px).all(axis=-1))
    if len(bad):
        raise EvaluationError(
            f"{len(bad)} of {len(offset_px)} predicted offsets are not finite; first rows: "
            f"{', '.join(map(str, bad[:5]))}. The offset head has diverged."
        )
    try:
        placed = geometry.locate(tile_lat, tile_lon, offset_px, metres_per_px)
    except ValueError as error:
        raise EvaluationError(f"a retrieved tile lies nowhere: {error}. Prepare the data again.") from error
    if not (np.isfinite(query_lat).all() and np.isfinite(query_lon).all()):
        raise EvaluationError("the true position of a query is not a finite number. Prepare the data again.")
    return geometry.great_circle_m(query_lat, query_lon, *placed)


def accuracy_curve(
    errors_m: Float[np.ndarray, "queries"],
) -> tuple[Float[np.ndarray, "thresholds"], Float[np.ndarray, "thresholds"]]:
    """(thresholds in metres [499], share of the queries placed nearer than each [499]).

    The thresholds are the authors' (evaluate_from_npy.py), 1.1^(i/5) for i = 1..499: from 1.02 m to 13.5 km. Strictly
    nearer, as theirs.
    """
    thresholds = 1.1 ** (np.arange(1, 500) / 5)
    return thresholds, np.searchsorted(np.sort(errors_m), thresholds, side="left") / len(errors_m)


def summary(errors_m: Float[np.ndarray, "queries"]) -> dict[str, float]:
    """`median_m`, `mean_m`, and the shares `within_5m`, `within_10m`, `within_25m`, `within_50m`, strictly nearer.

    Example:
      >>> import numpy as np
      >>> from vigor_jax.retrieval.position import summary
      >>> figures = summary(np.array([2.0, 8.0, 110.0]))
      >>> figures["median_m"], figures["mean_m"], round(figures["within_10m"], 4)
      (8.0, 40.0, 0.6667)

    Raises:
      EvaluationError: there are none.
    """
    if not len(errors_m):
        raise EvaluationError("no query was placed, so there is no error to average.")
    return {
        "median_m": float(np.median(errors_m)),
        "mean_m": float(np.mean(errors_m)),
        **{f"within_{limit}m": float(np.mean(errors_m < limit)) for limit in _WITHIN_M},
    }
