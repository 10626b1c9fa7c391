"""Colours of points by how far off they were placed, on a logarithmic scale, and how many points a map bears."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int

MOST_POINTS = 2000  # of one map: more points than that hide each other and make the page slow
# A decade apart: told apart on light and dark grounds, and without seeing red from green.
COLOURS = ("#2f6fc1", "#2aa198", "#e0a100", "#c2185b")


def thinned(rows: Int[np.ndarray, "rows"]) -> Int[np.ndarray, "drawn"]:
    """Every so many of too many rows, in their order: no luck in it, so the page is the same when made again."""
    return rows[:: max(1, -(-len(rows) // MOST_POINTS))]


def marker(distance_m: Float[np.ndarray, "points"], symbol: str = "circle") -> dict[str, Any]:
    """Of plotly: points whose colours `scale` gives."""
    decades = np.log10(np.maximum(distance_m, 1e-3)).round(3)
    return {"symbol": symbol, "size": 8, "color": decades.tolist(), "coloraxis": "coloraxis"}


def scale(drawing: go.Figure, nearest_m: int) -> None:
    """Gives the first colour to this distance and all below, each further one to ten times that of the one before."""
    first = float(np.log10(nearest_m))
    drawing.update_layout(
        coloraxis={
            "colorscale": list(COLOURS),
            "cmin": first,
            "cmax": first + len(COLOURS) - 1,
            "showscale": False,
        }
    )
