"""Photos to look at: where each was taken, where it was placed, and how sure the network was."""

import dataclasses

import numpy as np
from jaxtyping import Int

from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.report import best_between_worst, wording
from vigor_jax.report.embedded_image import data_uri
from vigor_jax.report.geolocation_findings import GeolocationFindings

EACH = 4  # photos of a kind, in each split


@dataclasses.dataclass(frozen=True)
class ShownPhoto:
    """One photo with its figures as text."""

    name: str
    image: str  # a data address
    distance: str  # from the true position to the placed one
    true: str  # a position
    placed: str  # a position
    probability: str  # of the most probable cell
    true_cell: str  # what the network made of the cell where the photo was taken


@dataclasses.dataclass(frozen=True)
class Group:
    """Photos of a kind."""

    title: str
    photos: list[ShownPhoto]


def of_split(found: GeolocationFindings, data: LabelledImages) -> list[Group]:
    """The best, some between and the worst photos of one split, each once."""
    return [
        Group(title, [_shown(found, int(photo), data) for photo in photos])
        for title, photos in zip(best_between_worst.TITLES, choose(found, EACH), strict=True)
        if len(photos)
    ]


def choose(
    found: GeolocationFindings, each: int
) -> tuple[Int[np.ndarray, "best"], Int[np.ndarray, "between"], Int[np.ndarray, "worst"]]:
    """Photos by distance, of equal ones the surer first."""
    return best_between_worst.best_between_worst(np.lexsort((-found.probability[:, 0], found.error_km)), each)


def _shown(found: GeolocationFindings, photo: int, data: LabelledImages) -> ShownPhoto:
    row = int(found.row[photo])
    return ShownPhoto(
        name=data.names[row],
        image=data_uri(data.images[row], data.names[row]),
        distance=wording.metres(1000 * float(found.error_km[photo])),
        true=wording.position(float(data.lat[row]), float(data.lon[row])),
        placed=wording.position(float(found.placed_lat[photo]), float(found.placed_lon[photo])),
        probability=wording.percent(float(found.probability[photo, 0])),
        true_cell=_true_cell(found, photo),
    )


def _true_cell(found: GeolocationFindings, photo: int) -> str:
    if found.label[photo] < 0:
        return "none"
    place = np.flatnonzero(found.probable[photo] == found.label[photo])
    if not len(place):
        return f"not among the first {found.probable.shape[1]}"
    return "the same" if place[0] == 0 else wording.percent(float(found.probability[photo, place[0]]))
