"""Where on earth the photos were taken, and how far off each was placed: one map a split."""

import numpy as np
import plotly.graph_objects as go

from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.report import distance_colours, plot, wording
from vigor_jax.report.geolocation_findings import GeolocationFindings
from vigor_jax.report.plot import Plot

TICKS = ("10 km or less", "100 km", "1,000 km", "10,000 km")  # of distance_colours.COLOURS
_NEAREST_M = 10_000


def of_split(split: str, found: GeolocationFindings, data: LabelledImages) -> Plot:
    """The photos of a split on longitude and latitude, a degree of each as long as one of the other."""
    drawn = distance_colours.thinned(np.arange(len(found)))
    rows = found.row[drawn]
    drawing = plot.figure(y_suffix="°")
    drawing.add_trace(
        go.Scatter(
            x=np.round(data.lon[rows], 5).tolist(),  # a metre
            y=np.round(data.lat[rows], 5).tolist(),
            mode="markers",
            text=[_told(found, int(photo), data) for photo in drawn],
            hovertemplate="%{text}<extra></extra>",
            marker=distance_colours.marker(1000 * found.error_km[drawn]),
        )
    )
    distance_colours.scale(drawing, _NEAREST_M)
    drawing.update_layout(margin_r=20)  # half of the last label
    drawing.update_xaxes(range=[-180, 180], tick0=0, dtick=60, ticksuffix="°")
    drawing.update_yaxes(range=[-90, 90], tick0=0, dtick=30, scaleanchor="x")
    drawing.update_xaxes(constrain="domain", constraintoward="left")
    drawing.update_yaxes(constrain="domain", constraintoward="top")
    median = wording.metres(1000 * float(np.median(found.error_km)))
    thinned = "" if len(drawn) == len(found) else f" {len(drawn):,} of them are drawn."
    return Plot(
        name=f"map-{split}",
        title=wording.plain(split),
        figure=drawing,
        description=f"Map of {len(found):,} photos of {wording.plain(split)}, by error. Median {median}.",
        note=f"{len(found):,} photos, median error {median}.{thinned}",
        height=300,
    )


def _told(found: GeolocationFindings, photo: int, data: LabelledImages) -> str:
    # plotly reads tags in what it draws.
    name = data.names[found.row[photo]].replace("&", "&amp;").replace("<", "&lt;")
    return f"{name}<br>{wording.metres(1000 * float(found.error_km[photo]))} off"
