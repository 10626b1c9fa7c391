"""The share of queries that are placed within x metres, for every x."""

import numpy as np
from jaxtyping import Float

from vigor_jax.report import distance_curve, wording
from vigor_jax.report.distance_curve import Curve
from vigor_jax.report.plot import Plot
from vigor_jax.report.query_findings import Findings

THRESHOLDS_M = 1.1 ** (np.arange(1, 500) / 5)  # the authors' (VIGOR, evaluate_from_npy.py): 1.02 m to 13.5 km
_TABLE_M = (5, 10, 25, 50, 100, 250, 1000)


def of_splits(splits: dict[str, Findings]) -> Plot:
    """One pair of curves a split: by predicted position and, dotted, by the centre of the retrieved tile."""
    curves = []
    for ink, (split, found) in enumerate(splits.items()):
        name = wording.plain(split)
        if found.error_m is not None:
            curves.append(Curve(f"{name}, predicted", found.error_m, ink))
        centre = f"{name}, tile centre"
        curves.append(Curve(centre, found.centre_error_m, ink, baseline=found.error_m is not None))
    return distance_curve.of_curves(
        curves, examples="queries", threshold_m=_until_nothing_changes(splits), table_m=_TABLE_M
    )


def _until_nothing_changes(splits: dict[str, Findings]) -> Float[np.ndarray, "thresholds"]:
    """The thresholds up to the one at which every curve has its last height."""
    distances = np.concatenate([d for found in splits.values() for d in (found.placed_m, found.centre_error_m)])
    within = distances[distances < THRESHOLDS_M[-1]]
    last = np.searchsorted(THRESHOLDS_M, within.max(), side="right") if within.size else len(THRESHOLDS_M) - 1
    return THRESHOLDS_M[: last + 1]
