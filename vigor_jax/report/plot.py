"""One plot of the page: what plotly draws, and the same in words and figures for those who do not see it drawn."""

import dataclasses

import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from vigor_jax.report.metrics_table import Table

# Traces carry the number of an ink instead of a colour: the page fills in the one of the reader's light or dark mode.
INKS = 6
_DASHES = {
    "solid": "",
    "dash": "9 5",
    "dot": "2 3",
    "dashdot": "9 4 2 4",
    "longdash": "14 5",
    "longdashdot": "14 4 2 4",
}


@dataclasses.dataclass(frozen=True)
class Key:
    """One line of a legend."""

    label: str
    ink: int
    dashes: str  # as of SVG's stroke-dasharray


@dataclasses.dataclass(frozen=True)
class Plot:
    """A drawing with its text."""

    name: str  # unique on the page
    title: str
    figure: go.Figure
    description: str  # what a reader who cannot see it is told
    note: str = ""  # below it, for everyone
    table: Table | None = None  # its figures
    height: int = 320  # pixels

    @property
    def legend(self) -> list[Key]:
        """What each curve is; empty if there is only one, which the title names."""
        curves = [trace for trace in self.figure.data if trace.meta]
        keys = [Key(curve.name, curve.meta["ink"], _DASHES[curve.line.dash]) for curve in curves]
        return keys if len(keys) > 1 else []

    @property
    def json(self) -> Markup:
        """The figure for plotly.js, fit for a script element."""
        # An image's name may hold anything, also the end of a script.
        return Markup(self.figure.to_json().replace("<", "\\u003c"))


def figure(x_title: str = "", y_suffix: str = "") -> go.Figure:
    """An empty drawing in the style of the page; the traces' `meta` names their ink, 1 to INKS."""
    drawing = go.Figure()
    drawing.update_layout(
        template="none",
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis={"title": {"text": x_title}, "automargin": True, "zeroline": False},
        yaxis={"ticksuffix": y_suffix, "automargin": True, "zeroline": False},
        showlegend=False,  # the page has its own, which wraps with the text and is read aloud
        hovermode="closest",
    )
    return drawing


def line(index: int, x: list[float], y: list[float], label: str, *, dash: str | None = None) -> go.Scatter:
    """One curve; the index chooses ink and dash, so that curves differ without colour too."""
    return go.Scatter(
        x=x,
        y=y,
        name=label,
        mode="lines+markers" if len(x) <= 50 else "lines",
        line={"dash": dash or list(_DASHES)[index % len(_DASHES)], "width": 2},
        marker={"size": 5},
        meta={"ink": 1 + index % INKS},
    )


def plotly_script() -> Markup:
    """The whole of plotly.js."""
    return Markup(get_plotlyjs())
