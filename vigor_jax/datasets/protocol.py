"""Who trains, who validates, who tests: the same-area and cross-area protocols of VIGOR.

`validation` selects checkpoints, so nothing of it may be trained on and nothing of it may be tested on. With a fraction
of 0 there is none, all of the training panoramas train, and nothing selects: no test split takes its place. It is one
rectangle a training city: the panoramas in it that neither train elsewhere nor test are its queries; its gallery is
every tile in it and every reference of its queries; and a training panorama with any of its four references in that
gallery is dropped. The test splits are as published, whatever is validated.
"""

import dataclasses
import functools
import math
from collections.abc import Collection, Sequence

import numpy as np
from absl import logging
from jaxtyping import Bool, Int

from vigor_jax.datasets.cross_view import CrossViewData, Panoramas, Tiles
from vigor_jax.errors import UserError

_TOP = 10  # the deepest recall that is reported


class ProtocolError(UserError):
    """A split that the data cannot give; names the split and the mend."""


@dataclasses.dataclass(frozen=True)
class EvaluationSplit:
    """Queries and the gallery they are searched in."""

    panoramas: Int[np.ndarray, "queries"]  # rows of CrossViewData.panoramas
    tiles: Int[np.ndarray, "gallery"]  # rows of CrossViewData.tiles, ascending
    references: Int[np.ndarray, "queries 4"]  # int32 rows of the gallery; the positive, then three semi-positives


@dataclasses.dataclass(frozen=True)
class Splits:
    """What trains and what is evaluated; each evaluation under "validation" (if any), "same_area" or "cross_area"."""

    train: Int[np.ndarray, "examples"]  # rows of CrossViewData.panoramas, ascending
    evaluations: dict[str, EvaluationSplit]


def split(
    data: CrossViewData,
    *,
    train_cities: Sequence[str],
    test_cities: Sequence[str],
    protocols: Sequence[str],
    same_area_cities: Sequence[str] = (),
    validation_fraction: float,
) -> Splits:
    """Divides a data set by city, by published half and by geographic block; deterministic.

    Same area (Zhu, Yang, Chen, CVPR 2021): the queries are the training cities' panoramas of the published test half,
    the gallery all of these cities' tiles; only the other half trains. `same_area_cities` restricts this to some of
    them. Cross area: every panorama and tile of the test cities. Panoramas of training cities that the same-area
    protocol does not test train whole.

    Args:
      data: the prepared data set.
      train_cities: names in data.cities.
      test_cities: names in data.cities; only read by the cross-area protocol.
      protocols: of "same_area" and "cross_area".
      same_area_cities: training cities that the same-area protocol tests; empty: all of them. The others train whole.
      validation_fraction: of each training city's training panoramas; about this share of them is in its block. 0 for
        no validation.

    Raises:
      ProtocolError: an unknown city, a split without queries, nothing left to train on, or a reference outside the
        cities of its panorama.
    """
    tested = same_area_cities or train_cities
    trains = _trains(data, train_cities, tested if "same_area" in protocols else ())
    cities = {"train_cities": train_cities, "test_cities": test_cities, "same_area_cities": same_area_cities}
    found = functools.partial(evaluation, data, **cities, protocols=protocols, validation_fraction=validation_fraction)
    tests = {name: found(name) for name in ("same_area", "cross_area") if name in protocols}
    if validation_fraction == 0:
        train = np.flatnonzero(trains)
        _require(bool(len(train)), f"No panorama of {', '.join(train_cities)} trains. Prepare their panoramas.")
        logging.info(
            "All %d panoramas train; no split is held out to select a checkpoint, so the last one is it.", len(train)
        )
        return Splits(train, tests)
    validation = found("validation")
    evaluations = {"validation": validation} | tests

    gallery = np.zeros(len(data.tiles), bool)
    gallery[validation.tiles] = True
    queries = len(validation.panoramas)
    trains[validation.panoramas] = False
    leaks = trains & gallery[data.panoramas.references].any(axis=1)
    trains = trains & ~leaks
    logging.info(
        "Validation holds out %d panoramas and %d tiles; %d panoramas beside it share one of these tiles and do not "
        "train, %d do.",
        queries,
        gallery.sum(),
        leaks.sum(),
        trains.sum(),
    )
    _require(
        trains.any(),
        f"Nothing is left to train on: {queries} panoramas of {', '.join(train_cities)} validate and "
        f"{leaks.sum()} share a tile with them. Lower config.data.validation_fraction or use more panoramas.",
    )
    return Splits(train=np.flatnonzero(trains), evaluations=evaluations)


def evaluation(
    data: CrossViewData,
    name: str,
    *,
    train_cities: Sequence[str],
    test_cities: Sequence[str],
    protocols: Sequence[str],
    same_area_cities: Sequence[str] = (),
    validation_fraction: float,
) -> EvaluationSplit:
    """One of the evaluations that `split` makes, by its name; the data set need hold no more than its cities.

    Raises:
      ProtocolError: as of `split`.
    """
    tested = same_area_cities or train_cities
    if name == "same_area":
        return _same_area(data, tested)
    if name == "cross_area":
        return _cross_area(data, test_cities)
    _require(
        validation_fraction > 0,
        "There is no split validation, as config.data.validation_fraction = 0 holds no panorama out.",
    )
    trains = _trains(data, train_cities, tested if "same_area" in protocols else ())
    return _evaluation(data, name, *_validation(data, train_cities, trains, validation_fraction))


def cities_of(
    names: Collection[str],
    *,
    train_cities: Sequence[str],
    test_cities: Sequence[str],
    same_area_cities: Sequence[str] = (),
) -> tuple[str, ...]:
    """The cities that some of the evaluations need, in the order in which a data set with all of them has them."""
    needed = {
        "validation": train_cities,
        "same_area": same_area_cities or train_cities,
        "cross_area": test_cities,
    }
    wanted = {city for name in names for city in needed[name]}
    return tuple(city for city in dict.fromkeys((*train_cities, *test_cities)) if city in wanted)


def chance(split: EvaluationSplit) -> dict[str, float]:
    """Recall of guessing at random in the gallery of M tiles: k / M, under the names of `retrieval.rank_metrics`."""
    gallery = len(split.tiles)
    within = {"top1": 1, "top5": 5, "top10": 10, "top1_percent": int(0.01 * gallery) + 1}
    return {name: min(k, gallery) / gallery for name, k in within.items()}


def _require(condition: bool | np.bool_, message: str) -> None:
    if not condition:
        raise ProtocolError(message)


def _in_cities(
    city: Int[np.ndarray, "rows"], data: CrossViewData, names: Sequence[str], key: str
) -> Bool[np.ndarray, "rows"]:
    unknown = [name for name in names if name not in data.cities]
    _require(
        not unknown,
        f"config.data.{key} names {', '.join(unknown)}; {data.name} as prepared holds {', '.join(data.cities)}.",
    )
    return np.isin(city, [data.cities.index(name) for name in names])


def _trains(data: CrossViewData, cities: Sequence[str], tested: Sequence[str]) -> Bool[np.ndarray, "panoramas"]:
    """The panoramas of the training cities but for those that the same-area protocol tests, of some of the cities."""
    return _in_cities(data.panoramas.city, data, cities, "train_cities") & ~_same_area_tests(data, tested)


def _same_area_tests(data: CrossViewData, cities: Sequence[str]) -> Bool[np.ndarray, "panoramas"]:
    return _in_cities(data.panoramas.city, data, cities, "same_area_cities") & data.panoramas.same_area_test


def _same_area(data: CrossViewData, cities: Sequence[str]) -> EvaluationSplit:
    tests = _same_area_tests(data, cities)
    _require(
        tests.any(),
        f"The split same_area has no queries: no panorama of {', '.join(cities)} is in the published test "
        "half. Take same_area out of config.data.protocols, or prepare these cities with both halves.",
    )
    return _evaluation(data, "same_area", tests, _in_cities(data.tiles.city, data, cities, "same_area_cities"))


def _cross_area(data: CrossViewData, cities: Sequence[str]) -> EvaluationSplit:
    tests = _in_cities(data.panoramas.city, data, cities, "test_cities")
    _require(
        tests.any(),
        f"The split cross_area has no queries: there is no panorama of {', '.join(cities) or 'any city'}. "
        "Name cities with panoramas in config.data.test_cities, or take cross_area out of config.data.protocols.",
    )
    return _evaluation(data, "cross_area", tests, _in_cities(data.tiles.city, data, cities, "test_cities"))


def _validation(
    data: CrossViewData, cities: Sequence[str], candidates: Bool[np.ndarray, "panoramas"], fraction: float
) -> tuple[Bool[np.ndarray, "panoramas"], Bool[np.ndarray, "tiles"]]:
    """Which panoramas are validation's queries, and which tiles its gallery.

    The rectangle is the south-west corner of a city, because in a corner only two of its four sides have training
    panoramas beside it that must be dropped: all south of a latitude that has sqrt(fraction) of the panoramas below
    it, and of these all west of the longitude that leaves the fraction.
    """
    panoramas, tiles = data.panoramas, data.tiles
    queries = np.zeros(len(panoramas), bool)
    gallery = np.zeros(len(tiles), bool)
    for city in cities:
        ours = candidates & (panoramas.city == data.cities.index(city))
        _require(
            ours.any(),
            f"The split validation has no queries in {city}: no panorama of it trains. Take the city out of "
            "config.data.train_cities or prepare its panoramas.",
        )
        count = np.count_nonzero(ours)
        north = np.sort(panoramas.lat[ours])[math.ceil(math.sqrt(fraction) * count) - 1]
        strip = ours & (panoramas.lat <= north)
        east = np.sort(panoramas.lon[strip])[math.ceil(fraction * count) - 1]
        queries |= strip & (panoramas.lon <= east)
        gallery |= (tiles.city == data.cities.index(city)) & (tiles.lat <= north) & (tiles.lon <= east)
    gallery[panoramas.references[queries]] = True
    return queries, gallery


def _evaluation(
    data: CrossViewData, name: str, queries: Bool[np.ndarray, "panoramas"], gallery: Bool[np.ndarray, "tiles"]
) -> EvaluationSplit:
    rows, members = np.flatnonzero(queries), np.flatnonzero(gallery)
    if len(members) < _TOP:
        logging.warning(
            "The split %s has %d tiles: whatever the model, its top-%d is 100 %%. Read its recalls beside chance.",
            name,
            len(members),
            _TOP,
        )
    place = np.full(len(data.tiles), -1, np.int32)
    place[members] = np.arange(len(members), dtype=np.int32)
    references = place[data.panoramas.references[rows]]
    if (references < 0).any():
        query, column = np.argwhere(references < 0)[0]
        raise ProtocolError(_outside(name, data.panoramas, data.tiles, int(rows[query]), int(column)))
    return EvaluationSplit(panoramas=rows, tiles=members, references=references)


def _outside(name: str, panoramas: Panoramas, tiles: Tiles, row: int, column: int) -> str:
    tile = panoramas.references[row, column]
    return (
        f"The split {name}: panorama {panoramas.names[row]} refers to tile {tiles.names[tile]}, which is not of its "
        "cities. Correct the label file that names them together and prepare the data again."
    )
