"""What the page of a geolocation run shows besides curves and config: kilometres, maps, and photos to look at."""

import numpy as np

from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.report import (
    distance_colours,
    geolocation_findings,
    headline,
    kilometre_curve,
    page,
    photo_gallery,
    wording,
    world_map,
)
from vigor_jax.report.geolocation_findings import GeolocationFindings
from vigor_jax.report.page import Content, Section
from vigor_jax.workdir import findings
from vigor_jax.workdir.results import Results

_CURVES = ("top1", "within_25km", "within_750km", "median_km")
_HEADLINE = (("within_25km",), ("median_km",))


def content(run: Results, data: LabelledImages) -> Content:
    """Headlines, which metrics are drawn by epoch, and the sections.

    Raises:
      RunFileError: the findings are damaged or of another data set.
      ImageError: a damaged image.
    """
    found = geolocation_findings.read(run.workdir, data)
    headlines = [headline.of_split(run, split, _HEADLINE) for split in run.splits]
    if not found:
        text = f"This run left no {findings.FILE_NAME}, so its photos cannot be shown: no distances, map or images."
        sections = [Section("photos", "Photos", page.paragraph(text))]
    else:
        sections = _sections({split: found[split] for split in run.splits if split in found}, data)
    return Content(headlines=headlines, curves=list(_CURVES), sections=sections)


def _sections(found: dict[str, GeolocationFindings], data: LabelledImages) -> list[Section]:
    medians = {split: wording.metres(1000 * float(np.median(each.error_km))) for split, each in found.items()}
    return [
        Section("distance", "Distance", page.fragment("kilometres.html", plot=kilometre_curve.of_splits(found))),
        Section(
            "map",
            "Map",
            page.fragment(
                "world_map.html",
                maps=[world_map.of_split(split, each, data) for split, each in found.items()],
                colours=distance_colours.COLOURS,
                ticks=world_map.TICKS,
            ),
        ),
        Section(
            "photos",
            "Photos and where they were placed",
            page.fragment(
                "photos.html",
                splits={split: photo_gallery.of_split(each, data) for split, each in found.items()},
                medians=medians,
            ),
        ),
    ]
