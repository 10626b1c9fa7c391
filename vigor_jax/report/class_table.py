"""Class by class: how many images there are, how many are right, and what the others are taken for."""

import numpy as np

from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.report import confusions, wording
from vigor_jax.report.class_findings import ClassFindings
from vigor_jax.report.metrics_table import Table


def of_split(found: ClassFindings, data: LabelledImages) -> Table:
    """A row for each class that has images, the worst first, of equals those with more images."""
    table = confusions.counts(found, len(data.class_names))
    images, right = table.sum(axis=1), np.diag(table)
    among = np.bincount(
        found.label, (found.probable == found.label[:, None]).any(axis=1), minlength=len(data.class_names)
    )
    trained = np.bincount(data.labels[data.train], minlength=len(data.class_names))
    there = np.flatnonzero(images)
    order = there[np.lexsort((there, -images[there], right[there] / images[there]))]
    rows = []
    for c in order:
        others = np.where(np.arange(len(table)) == c, 0, table[c])
        most = int(np.argmax(others))
        taken = f"{data.class_names[most]} ({others[most]:,})" if others[most] else ""
        rows.append(
            [
                data.class_names[c],
                wording.percent(right[c] / images[c], 0),
                wording.percent(among[c] / images[c], 0),
                f"{images[c]:,}",
                f"{trained[c]:,}",
                taken,
            ]
        )
    return Table(
        ["class", "top-1", f"top-{found.probable.shape[1]}", "images", "in training", "most often taken for"], rows
    )
