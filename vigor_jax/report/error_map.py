"""Where the queries lie and how far off each is placed: one map a city."""

import numpy as np
import plotly.graph_objects as go

from vigor_jax import geometry
from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.report import distance_colours, plot, wording
from vigor_jax.report.metrics_table import Table
from vigor_jax.report.plot import Plot
from vigor_jax.report.query_findings import Findings

TICKS = ("1 m or less", "10 m", "100 m", "1 km or more")  # of distance_colours.COLOURS
_NEAREST_M = 1
_TABLE_M = (10, 50, 250)


def of_split(split: str, found: Findings, data: CrossViewData) -> list[Plot]:
    """One map for each city that the split's queries are of."""
    city = data.panoramas.city[found.panorama]
    return [_of_city(split, int(index), found, np.flatnonzero(city == index), data) for index in np.unique(city)]


def _of_city(split: str, city: int, found: Findings, queries: np.ndarray, data: CrossViewData) -> Plot:
    drawn = distance_colours.thinned(queries)
    lat, lon = data.panoramas.lat[found.panorama], data.panoramas.lon[found.panorama]
    east, north = _metres(lat, lon, queries)
    at = np.searchsorted(queries, drawn)
    errors = found.placed_m
    drawing = plot.figure(y_suffix=" m")
    for first, symbol, label in ((True, "circle", "true tile first"), (False, "x", "another tile first")):
        of_kind = (found.rank[drawn] == 0) == first
        chosen = drawn[of_kind]
        drawing.add_trace(
            go.Scatter(
                x=np.round(east[at][of_kind], 1).tolist(),
                y=np.round(north[at][of_kind], 1).tolist(),
                mode="markers",
                name=label,
                text=[_told(found, int(query), data) for query in chosen],
                hovertemplate="%{text}<extra></extra>",
                marker=distance_colours.marker(errors[chosen], symbol),
            )
        )
    distance_colours.scale(drawing, _NEAREST_M)
    drawing.update_layout(dragmode="pan")
    drawing.update_yaxes(scaleanchor="x", constrain="domain", constraintoward="top", nticks=6)
    drawing.update_xaxes(ticksuffix=" m", constrain="domain", constraintoward="left", nticks=6)
    here = errors[queries]
    name = data.cities[city]
    median = wording.metres(float(np.median(here)))
    firsts = wording.percent(float(np.mean(found.rank[queries] == 0)))
    rows = [[wording.metres(limit), wording.percent(float(np.mean(here < limit)))] for limit in _TABLE_M]
    thinned = "" if len(drawn) == len(queries) else f" {len(drawn):,} of them are drawn."
    return Plot(
        name=f"map-{split}-{city}",
        title=name,
        figure=drawing,
        description=f"Map of {len(queries):,} queries of {wording.plain(split)} in {name}, by error. Median {median}.",
        note=f"{len(queries):,} queries, median error {median}, true tile first {firsts}.{thinned}",
        table=Table(["within", "of the queries"], rows),
        height=360,
    )


def _metres(lat: np.ndarray, lon: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(east, north) of the queries from the middle of their extent."""
    row, column = geometry.mercator_pixel(lat[queries], lon[queries])
    scale = geometry.metres_per_pixel(float(np.mean(lat[queries])))
    return scale * (column - (column.min() + column.max()) / 2), scale * ((row.min() + row.max()) / 2 - row)


def _told(found: Findings, query: int, data: CrossViewData) -> str:
    name = data.panoramas.names[found.panorama[query]].replace("<", "&lt;")
    place = "true tile first" if found.rank[query] == 0 else f"true tile {found.rank[query] + 1:,}."
    return f"{name}<br>{wording.metres(float(found.placed_m[query]))} off, {place}"
