"""What the page of a cross-view run shows besides curves and config: distances, maps, and queries to look at."""

import numpy as np

from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.report import (
    accuracy_curve,
    distance_colours,
    error_map,
    headline,
    page,
    query_findings,
    query_gallery,
    wording,
)
from vigor_jax.report.page import Content, Section
from vigor_jax.report.query_findings import Findings
from vigor_jax.workdir import findings
from vigor_jax.workdir.results import Results

_CURVES = ("top1", "top5", "top1_percent", "hit_rate", "median_m", "within_10m")
_HEADLINE = (("top1",), ("median_m", "centre_median_m"))
_WITHOUT_OFFSETS = {"median_m": "centre_median_m", "within_10m": "centre_within_10m"}


def content(run: Results, data: CrossViewData) -> Content:
    """Headlines, which metrics are drawn by epoch, and the sections.

    Raises:
      RunFileError: the findings are damaged or of another data set.
      ImageError: a damaged image.
    """
    found = query_findings.read(run.workdir, data)
    measured = {name.split("/")[1] for name in run.metrics}
    curves = [metric if metric in measured else _WITHOUT_OFFSETS.get(metric, metric) for metric in _CURVES]
    headlines = [headline.of_split(run, split, _HEADLINE) for split in run.splits]
    sections = (
        _nothing_found()
        if not found
        else _sections({split: found[split] for split in run.splits if split in found}, data)
    )
    return Content(headlines=headlines, curves=curves, sections=sections)


def _nothing_found() -> list[Section]:
    text = f"This run left no {findings.FILE_NAME}, so its queries cannot be shown: no distances, map or images."
    return [Section("queries", "Queries", page.paragraph(text))]


def _sections(found: dict[str, Findings], data: CrossViewData) -> list[Section]:
    maps = {split: error_map.of_split(split, each, data) for split, each in found.items()}
    groups = {split: query_gallery.of_split(each, data) for split, each in found.items()}
    predicted = any(each.offset_px is not None for each in found.values())
    return [
        Section(
            "distance",
            "Distance",
            page.fragment("distance.html", plot=accuracy_curve.of_splits(found), predicted=predicted),
        ),
        Section(
            "map",
            "Map of the queries",
            page.fragment(
                "map.html", maps=maps, colours=distance_colours.COLOURS, ticks=error_map.TICKS, predicted=predicted
            ),
        ),
        Section(
            "gallery",
            "Queries and what they found",
            page.fragment(
                "gallery.html",
                splits=groups,
                medians={s: wording.metres(float(np.median(each.placed_m))) for s, each in found.items()},
                predicted=predicted,
            ),
        ),
    ]
