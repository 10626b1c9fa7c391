"""The share of examples that are placed within x metres, for every x: curves on a logarithmic axis."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from vigor_jax.report import plot, wording
from vigor_jax.report.metrics_table import Table
from vigor_jax.report.plot import Plot


@dataclasses.dataclass(frozen=True)
class Curve:
    """Distances of one kind, in one split."""

    label: str
    distance_m: Float[np.ndarray, "examples"]
    ink: int
    baseline: bool = False  # drawn dotted


def share_within(
    distance_m: Float[np.ndarray, "examples"], threshold_m: Float[np.ndarray, "thresholds"]
) -> Float[np.ndarray, "thresholds"]:
    """Share of the distances below each threshold."""
    return np.searchsorted(np.sort(distance_m), threshold_m, side="left") / len(distance_m)


def of_curves(
    curves: Sequence[Curve],
    *,
    examples: str,
    threshold_m: Float[np.ndarray, "thresholds"],
    table_m: Sequence[int],
) -> Plot:
    """The curves, and their heights at a few distances as a table.

    Args:
      curves: in the order of the legend.
      examples: what is placed, in the plural.
      threshold_m: ascending, where the curves have their points; the first decade of the axis holds the first.
      table_m: rows of the table.
    """
    drawing = plot.figure("distance from the true position", " %")
    limits = [wording.metres(limit) for limit in threshold_m]
    for curve in curves:
        shares = (100 * share_within(curve.distance_m, threshold_m)).tolist()
        dash = "dot" if curve.baseline else "solid"
        trace = plot.line(curve.ink, threshold_m.tolist(), shares, curve.label, dash=dash)
        drawing.add_trace(trace.update(text=limits, hovertemplate="%{y:.1f} % within %{text}"))
    first, last = (math.floor(math.log10(at)) for at in (threshold_m[0], threshold_m[-1]))
    decades = [10**power for power in range(first, last + 1)]
    drawing.update_xaxes(
        type="log",
        range=[first, math.log10(threshold_m[-1])],
        tickvals=decades,
        ticktext=[wording.metres(at).replace(".0", "") for at in decades],
        minor={"tickvals": [k * at for at in decades for k in range(2, 10)], "ticks": "outside"},
    )
    drawing.update_yaxes(range=[0, 101])
    at_rows = [share_within(curve.distance_m, np.array(table_m, np.float64)) for curve in curves]
    rows = [
        [wording.metres(limit), *(wording.percent(shares[row]) for shares in at_rows)]
        for row, limit in enumerate(table_m)
    ]
    told = [
        f"{curve.label}: half of the {examples} within {wording.metres(float(np.median(curve.distance_m)))}"
        for curve in curves
    ]
    missing = any(np.max(curve.distance_m) >= threshold_m[-1] for curve in curves if not curve.baseline)
    note = f"What is missing to 100 % at the right edge lies further off than {wording.metres(threshold_m[-1])}."
    return Plot(
        name="accuracy",
        title=f"{wording.plain(examples)} placed within each distance",
        figure=drawing,
        description=". ".join(told) + ".",
        note=note if missing else "",
        table=Table(["within", *(curve.label for curve in curves)], rows),
        height=400,
    )
