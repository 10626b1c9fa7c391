"""Which classes are taken for which: counts, a picture of them, and the pairs that are confused most often."""

import dataclasses

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Int

from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.report import plot, wording
from vigor_jax.report.class_findings import ClassFindings
from vigor_jax.report.embedded_image import data_uri
from vigor_jax.report.plot import Plot

MOST_CLASSES = 100  # of one picture: the names of more could not be read
MOST_PAIRS = 12
# From few to all images of a class, told apart on light and dark grounds and without seeing red from green.
RIGHT = ("#9dbfe6", "#2f6fc1", "#123a78")
WRONG = ("#f3c98b", "#e0741b", "#a3195b")
_ROW_PX = 13, 40  # of a class: its name can just be read, and more would be wasted
_PICTURE_PX = 600  # of few classes


@dataclasses.dataclass(frozen=True)
class Pair:
    """A class that is taken for another, with a photo of the one and a training photo of the other."""

    true: str
    predicted: str
    count: str  # "3 of 4 images"
    name: str  # of the photo
    image: str  # a data address; of the pair's images the one that the network was surest of
    outcome: str
    likeness_name: str
    likeness: str  # the first training photo of the predicted class; empty where there is none


def counts(found: ClassFindings, classes: int) -> Int[np.ndarray, "true predicted"]:
    """How many images of each class are taken for each class."""
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (found.label, found.predicted), 1)
    return table


def picture(split: str, found: ClassFindings, data: LabelledImages) -> Plot:
    """A row for each true class, a column for each predicted one; the colour is the share of the row."""
    table = counts(found, len(data.class_names))
    shown = _shown(table)
    names = [data.class_names[c] for c in shown]
    part = table[np.ix_(shown, shown)]
    share = part / np.maximum(table[shown].sum(axis=1), 1)[:, None]
    drawing = plot.figure("taken for")
    # Numbers, not names, are the axes' values: two classes may have the same name.
    places = list(range(len(shown)))
    told = [
        [
            f"{_plain(true)}, taken for {_plain(predicted)}: {part[i, j]:,} of {table[c].sum():,}"
            for j, predicted in enumerate(names)
        ]
        for i, (c, true) in enumerate(zip(shown, names, strict=True))
    ]
    diagonal = np.eye(len(shown), dtype=bool)
    for colours, of_kind in ((RIGHT, diagonal), (WRONG, ~diagonal)):
        drawing.add_trace(
            go.Heatmap(
                x=places,
                y=places,
                z=[
                    [round(float(z), 4) if there and n else None for z, there, n in zip(*row, strict=True)]
                    for row in zip(share, of_kind, part, strict=True)
                ],
                text=told,
                hovertemplate="%{text}<extra></extra>",
                hoverongaps=False,
                colorscale=list(colours),
                zmin=0,
                zmax=1,
                showscale=False,
                xgap=1,
                ygap=1,
            )
        )
    ticks = {"tickvals": places, "tickfont": {"size": 9}, "range": [-0.5, len(shown) - 0.5], "showgrid": True}
    labels = [_short(name) for name in names]
    drawing.update_xaxes(ticktext=labels, tickangle=-90, constrain="domain", constraintoward="left", **ticks)
    drawing.update_yaxes(ticktext=labels, **ticks | {"range": ticks["range"][::-1]})
    drawing.update_yaxes(scaleanchor="x", constrain="domain", constraintoward="top")
    right = int(np.trace(table))
    wrong = len(found) - right
    drawn = int(part[~diagonal].sum())
    note = "" if drawn == wrong else f"The {len(shown)} classes with the most errors: {drawn:,} of {wrong:,} errors."
    return Plot(
        name=f"confusions-{split}",
        title=wording.plain(split),
        figure=drawing,
        description=f"Of {len(found):,} images {right:,} are taken for what they are, {wrong:,} for others.",
        note=note,
        height=int(np.clip(_PICTURE_PX // len(shown), *_ROW_PX)) * len(shown) + 220,
    )


def worst(found: ClassFindings, data: LabelledImages) -> list[Pair]:
    """The pairs of classes that are confused most often, of as many those of which the larger share is."""
    table = counts(found, len(data.class_names))
    images = table.sum(axis=1)
    wrong = table * ~np.eye(len(table), dtype=bool)
    true, predicted = np.nonzero(wrong)
    often = wrong[true, predicted]
    order = np.lexsort((predicted, true, -often / images[true], -often))[:MOST_PAIRS]
    return [_pair(found, data, int(true[i]), int(predicted[i]), f"{often[i]:,} of {images[true[i]]:,}") for i in order]


def _pair(found: ClassFindings, data: LabelledImages, true: int, predicted: int, count: str) -> Pair:
    of_pair = np.flatnonzero((found.label == true) & (found.predicted == predicted))
    surest = of_pair[np.argmax(found.probability[of_pair, 0])]
    row = int(found.row[surest])
    alike = data.train[data.labels[data.train] == predicted]
    likeness = int(alike[0]) if len(alike) else None
    place = np.flatnonzero(found.probable[surest] == true)
    percents = [wording.percent(float(probability)) for probability in found.probability[surest]]
    own = f"{percents[place[0]]} {data.class_names[true]}" if len(place) else ""
    sure = f"{percents[0]} {data.class_names[predicted]}"
    return Pair(
        true=data.class_names[true],
        predicted=data.class_names[predicted],
        count=count,
        name=data.names[row],
        image=data_uri(data.images[row], data.names[row]),
        outcome=", ".join(filter(None, [sure, own])),
        likeness_name="" if likeness is None else data.names[likeness],
        likeness="" if likeness is None else data_uri(data.images[likeness], data.names[likeness]),
    )


def _shown(table: Int[np.ndarray, "true predicted"]) -> Int[np.ndarray, "shown"]:
    """Classes that have images or are predicted; of too many the ones with the most errors. In their order."""
    there = np.flatnonzero(table.sum(axis=0) + table.sum(axis=1))
    errors = table.sum(axis=0) + table.sum(axis=1) - 2 * np.diag(table)
    most = there[np.argsort(-errors[there], kind="stable")][:MOST_CLASSES]
    return np.sort(most)


def _short(name: str) -> str:
    name = _plain(name)
    return name if len(name) <= 28 else f"{name[:27]}\N{HORIZONTAL ELLIPSIS}"


def _plain(name: str) -> str:
    # plotly reads tags in what it draws.
    return name.replace("&", "&amp;").replace("<", "&lt;")
