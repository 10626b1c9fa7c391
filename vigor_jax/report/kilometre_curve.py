"""The share of photos that are placed within x kilometres, for every x."""

import numpy as np

from vigor_jax.report import distance_curve, wording
from vigor_jax.report.distance_curve import Curve
from vigor_jax.report.geolocation_findings import GeolocationFindings
from vigor_jax.report.plot import Plot

THRESHOLDS_M = np.geomspace(100, 20_000_000, 300)  # half of the way round the globe is 20,015 km
_TABLE_M = (1_000, 25_000, 200_000, 750_000, 2_500_000)  # street to continent, as of Im2GPS


def of_splits(splits: dict[str, GeolocationFindings]) -> Plot:
    """One pair of curves a split: as placed and, dotted, with all photos in the most photographed cell."""
    curves = []
    for ink, (split, found) in enumerate(splits.items()):
        name = wording.plain(split)
        curves.append(Curve(f"{name}, placed", 1000 * found.error_km, ink))
        curves.append(Curve(f"{name}, most photographed cell", 1000 * found.chance_km, ink, baseline=True))
    return distance_curve.of_curves(curves, examples="photos", threshold_m=THRESHOLDS_M, table_m=_TABLE_M)
