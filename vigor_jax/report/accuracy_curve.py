"""The share of queries that are placed within x metres, for every x."""

import numpy as np
from jaxtyping import Float

from vigor_jax.report import plot, wording
from vigor_jax.report.findings import Findings
from vigor_jax.report.metrics_table import Table
from vigor_jax.report.plot import Plot

THRESHOLDS_M = 1.1 ** (np.arange(1, 500) / 5)  # the authors' (VIGOR, evaluate_from_npy.py): 1.02 m to 13.5 km
_TABLE_M = (5, 10, 25, 50, 100, 250, 1000)


def share_within(
    distance_m: Float[np.ndarray, "queries"], threshold_m: Float[np.ndarray, "thresholds"]
) -> Float[np.ndarray, "thresholds"]:
    """Share of the distances below each threshold."""
    return np.searchsorted(np.sort(distance_m), threshold_m, side="left") / len(distance_m)


def of_splits(splits: dict[str, Findings]) -> Plot:
    """One pair of curves a split: by predicted position and, dotted, by the centre of the retrieved tile."""
    drawing = plot.figure("distance from the true position", " %")
    shown = _until_nothing_changes(splits)
    columns, shares, told = ["within"], [], []
    for index, (split, found) in enumerate(splits.items()):
        name = wording.plain(split)
        curves = {"tile centre": found.centre_error_m}
        if found.error_m is not None:
            curves = {"predicted": found.error_m} | curves
        for kind, distances in curves.items():
            dash = "dot" if kind == "tile centre" and found.error_m is not None else "solid"
            trace = plot.line(index, shown.tolist(), (100 * share_within(distances, shown)).tolist(), f"{name}, {kind}")
            drawing.add_trace(trace.update(line_dash=dash, hovertemplate="%{y:.1f} % within %{x:.3g} m"))
            columns.append(f"{name}, {kind}")
            shares.append(share_within(distances, np.array(_TABLE_M, np.float64)))
            told.append(f"{name}, {kind}: half of the queries within {wording.metres(float(np.median(distances)))}")
    decades = [10**power for power in range(5)]
    drawing.update_xaxes(
        type="log",
        range=[0, float(np.log10(shown[-1]))],
        tickvals=decades,
        ticktext=[wording.metres(at).replace(".0", "") for at in decades],
    )
    drawing.update_xaxes(minor={"tickvals": [k * at for at in decades for k in range(2, 10)], "ticks": "outside"})
    drawing.update_yaxes(range=[0, 101])
    rows = [
        [wording.metres(limit), *(wording.percent(share[row]) for share in shares)]
        for row, limit in enumerate(_TABLE_M)
    ]
    missing = any(share_within(found.placed_m, shown)[-1] < 1 for found in splits.values())
    note = f"What is missing to 100 % at the right edge lies further off than {wording.metres(shown[-1])}."
    return Plot(
        name="accuracy",
        title="Queries placed within x metres",
        figure=drawing,
        description=". ".join(told) + ".",
        note=note if missing else "",
        table=Table(columns, rows),
        height=400,
    )


def _until_nothing_changes(splits: dict[str, Findings]) -> Float[np.ndarray, "thresholds"]:
    """The thresholds up to the one at which every curve has its last height."""
    distances = np.concatenate([d for found in splits.values() for d in (found.placed_m, found.centre_error_m)])
    within = distances[distances < THRESHOLDS_M[-1]]
    last = np.searchsorted(THRESHOLDS_M, within.max(), side="right") if within.size else len(THRESHOLDS_M) - 1
    return THRESHOLDS_M[: last + 1]
