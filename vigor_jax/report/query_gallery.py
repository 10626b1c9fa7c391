"""Queries to look at: panorama, true tile and retrieved tiles, with the true and the predicted position on them."""

import dataclasses

import numpy as np
from jaxtyping import Int

from vigor_jax import geometry
from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.report import best_between_worst, wording
from vigor_jax.report.embedded_image import data_uri
from vigor_jax.report.query_findings import Findings

EACH = 4  # queries of a kind, in each split


@dataclasses.dataclass(frozen=True)
class Mark:
    """A position on a tile, in pixels of the 640 px tile from its north-west corner."""

    kind: str  # "true" or "predicted"
    column: float
    row: float


@dataclasses.dataclass(frozen=True)
class ShownTile:
    """One tile under its heading."""

    heading: str  # "true tile", "1st", ...
    relation: str  # "true", "semi-positive" or "other"
    name: str
    image: str  # a data address
    distance: str  # from the query to its centre
    marks: list[Mark]


@dataclasses.dataclass(frozen=True)
class ShownQuery:
    """One query with its tiles."""

    name: str
    city: str
    image: str
    outcome: str
    tiles: list[ShownTile]  # the true one, then the retrieved ones


@dataclasses.dataclass(frozen=True)
class Group:
    """Queries of a kind."""

    title: str
    queries: list[ShownQuery]


def of_split(found: Findings, data: CrossViewData) -> list[Group]:
    """The best, some between and the worst queries of one split, each once."""
    return [
        Group(title, [_shown(found, int(query), data) for query in queries])
        for title, queries in zip(best_between_worst.TITLES, choose(found, EACH), strict=True)
        if len(queries)
    ]


def choose(
    found: Findings, each: int
) -> tuple[Int[np.ndarray, "best"], Int[np.ndarray, "between"], Int[np.ndarray, "worst"]]:
    """Queries by how they went: rank of the true tile first, then metres."""
    return best_between_worst.best_between_worst(np.lexsort((found.placed_m, found.rank)), each)


def positions(found: Findings, query: int, tile: int, data: CrossViewData) -> list[Mark]:
    """Where the query's true and predicted position lie on a tile, as far as they lie on it."""
    panorama = found.panorama[query]
    places = {"true": (data.panoramas.lat[panorama], data.panoramas.lon[panorama])}
    if found.offset_px is not None:
        first = found.top5[query, 0]
        places["predicted"] = geometry.locate(data.tiles.lat[first], data.tiles.lon[first], found.offset_px[query])
    marks = []
    for kind, (lat, lon) in places.items():
        offset = geometry.tile_offset(lat, lon, data.tiles.lat[tile], data.tiles.lon[tile])
        row, column = geometry.TILE_PX / 2 + offset[0], geometry.TILE_PX / 2 - offset[1]
        if 0 <= row <= geometry.TILE_PX and 0 <= column <= geometry.TILE_PX:
            marks.append(Mark(kind, round(float(column), 1), round(float(row), 1)))
    return marks


def _shown(found: Findings, query: int, data: CrossViewData) -> ShownQuery:
    panorama = int(found.panorama[query])
    true, *semi = data.panoramas.references[panorama].tolist()
    tiles = [_tile("true tile", found, query, true, data, true, semi)]
    for place, tile in enumerate(found.top5[query].tolist(), 1):
        tiles.append(_tile(_ORDINALS[place], found, query, tile, data, true, semi))
    name = data.panoramas.names[panorama]
    return ShownQuery(
        name=name,
        city=data.cities[data.panoramas.city[panorama]],
        image=data_uri(data.ground[panorama], name),
        outcome=_outcome(found, query),
        tiles=tiles,
    )


_ORDINALS = {1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 5: "5th"}


def _tile(
    heading: str, found: Findings, query: int, tile: int, data: CrossViewData, true: int, semi: list[int]
) -> ShownTile:
    panorama = int(found.panorama[query])
    name = data.tiles.names[tile]
    distance = geometry.great_circle_m(
        data.panoramas.lat[panorama], data.panoramas.lon[panorama], data.tiles.lat[tile], data.tiles.lon[tile]
    )
    return ShownTile(
        heading=heading,
        relation="true" if tile == true else "semi-positive" if tile in semi else "other",
        name=name,
        image=data_uri(data.aerial[tile], name),
        distance=wording.metres(float(distance)) + _elsewhere(tile, panorama, data),
        marks=positions(found, query, tile, data),
    )


def _elsewhere(tile: int, panorama: int, data: CrossViewData) -> str:
    city = data.tiles.city[tile]
    return "" if city == data.panoramas.city[panorama] else f", in {data.cities[city]}"


def _outcome(found: Findings, query: int) -> str:
    rank, centre = int(found.rank[query]), wording.metres(float(found.centre_error_m[query]))
    above = "1 tile stands" if rank == 1 else f"{rank:,} tiles stand"
    place = "True tile found first" if rank == 0 else f"{above} at or above the true one"
    if found.error_m is None:
        return f"{place}; {centre} from the centre of the 1st."
    return f"{place}; placed {wording.metres(float(found.error_m[query]))} off, {centre} by the centre of the 1st."
