import dataclasses
import logging
import tarfile

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from vigor_jax.datasets.check import PUBLISHED
from vigor_jax.datasets.cross_view import CrossViewData, Panoramas, Tiles
from vigor_jax.datasets.protocol import EvaluationSplit, ProtocolError, Splits, chance, cities_of, evaluation, split
from vigor_jax.datasets.vigor import labels

SIDE = 20  # tiles a side of each city
CITIES = ("North", "East", "South")


def make_data(seed: int = 0, per_city: int = 400, test_half: bool = True) -> CrossViewData:
    """Three cities of half-overlapping tiles; each panorama's positive is its nearest tile, then three around it."""
    rng = np.random.default_rng(seed)
    tile_row, tile_column = (a.ravel() for a in np.indices((SIDE, SIDE)))
    lat, lon, city, references = [], [], [], []
    for c in range(len(CITIES)):
        row, column = rng.uniform(0.5, SIDE - 1.5, (2, per_city))
        corner_row, corner_column = np.floor(row).astype(int), np.floor(column).astype(int)
        near = np.stack([np.round(row) == corner_row, np.round(column) == corner_column])
        corners = []
        for away_row, away_column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            r = corner_row + np.where(near[0], away_row, 1 - away_row)
            k = corner_column + np.where(near[1], away_column, 1 - away_column)
            corners.append(r * SIDE + k + c * SIDE**2)
        lat.append(row * 1e-4 + c)
        lon.append(column * 1e-4 - c)
        city.append(np.full(per_city, c))
        references.append(np.stack(corners, 1))
    tiles = Tiles(
        names=[f"tile_{i}.png" for i in range(3 * SIDE**2)],
        lat=np.concatenate([tile_row * 1e-4 + c for c in range(3)]),
        lon=np.concatenate([tile_column * 1e-4 - c for c in range(3)]),
        city=np.repeat(np.arange(3), SIDE**2),
    )
    panoramas = Panoramas(
        names=[f"panorama_{i}.jpg" for i in range(3 * per_city)],
        lat=np.concatenate(lat),
        lon=np.concatenate(lon),
        city=np.concatenate(city),
        references=np.concatenate(references),
        offset_px=np.zeros((3 * per_city, 4, 2)),
        same_area_test=(rng.random(3 * per_city) < 0.5) & test_half,
    )
    return CrossViewData("made", CITIES, tiles, panoramas, [], [], "made")


def both(data: CrossViewData, fraction: float = 0.1, **changes) -> Splits:
    arguments = {
        "train_cities": ("North", "South"),
        "test_cities": ("East",),
        "protocols": ("same_area", "cross_area"),
        "validation_fraction": fraction,
    }
    return split(data, **(arguments | changes))


def assert_references_are_the_same_tiles(data: CrossViewData, evaluation: EvaluationSplit) -> None:
    assert evaluation.references.dtype == np.int32
    for query, row in enumerate(evaluation.panoramas):
        for column in range(4):
            assert evaluation.tiles[evaluation.references[query, column]] == data.panoramas.references[row, column]


def test_same_area_searches_all_tiles_of_the_training_cities():
    data = make_data()
    same = both(data).evaluations["same_area"]
    of_training = np.isin(data.panoramas.city, [0, 2])
    assert same.panoramas.tolist() == np.flatnonzero(of_training & data.panoramas.same_area_test).tolist()
    assert same.tiles.tolist() == np.flatnonzero(data.tiles.city != 1).tolist()
    # Distractors: tiles that no panorama at all refers to.
    assert set(same.tiles.tolist()) - set(data.panoramas.references.ravel().tolist())
    assert_references_are_the_same_tiles(data, same)


def test_cross_area_searches_the_test_cities_with_all_their_panoramas():
    data = make_data()
    cross = both(data).evaluations["cross_area"]
    assert cross.panoramas.tolist() == np.flatnonzero(data.panoramas.city == 1).tolist()
    assert cross.tiles.tolist() == np.flatnonzero(data.tiles.city == 1).tolist()
    assert_references_are_the_same_tiles(data, cross)


def assert_nothing_leaks(data: CrossViewData, splits: Splits) -> None:
    validation = splits.evaluations["validation"]
    train = set(splits.train.tolist())
    assert not train & set(validation.panoramas.tolist())
    gallery = set(validation.tiles.tolist())
    for row in splits.train:
        assert not gallery & set(data.panoramas.references[row].tolist()), f"panorama {row} shares a validation tile"
    for name in splits.evaluations.keys() - {"validation"}:
        tests = set(splits.evaluations[name].panoramas.tolist())
        assert not tests & train, f"a test panorama of {name} trains"
        assert not tests & set(validation.panoramas.tolist()), f"a test panorama of {name} selects checkpoints"


@hypothesis.settings(deadline=None, max_examples=25)
@hypothesis.given(
    seed=st.integers(0, 1000),
    fraction=st.floats(0.01, 0.3),
    protocols=st.sampled_from([("same_area",), ("cross_area",), ("same_area", "cross_area")]),
)
def test_nothing_leaks_from_any_split(seed, fraction, protocols):
    data = make_data(seed, per_city=150)
    splits = both(data, fraction, protocols=protocols)
    assert list(splits.evaluations) == ["validation", *protocols]
    assert_nothing_leaks(data, splits)


def test_only_panoramas_that_share_a_validation_tile_are_dropped():
    data = make_data()
    splits = both(data)
    validation = splits.evaluations["validation"]
    candidates = np.flatnonzero((data.panoramas.city != 1) & ~data.panoramas.same_area_test)
    dropped = set(candidates.tolist()) - set(splits.train.tolist()) - set(validation.panoramas.tolist())
    gallery = set(validation.tiles.tolist())
    assert dropped
    assert all(gallery & set(data.panoramas.references[row].tolist()) for row in dropped)


def test_validation_is_one_rectangle_in_each_training_city_of_the_asked_share():
    data = make_data()
    validation = both(data, fraction=0.1).evaluations["validation"]
    panoramas, tiles = data.panoramas, data.tiles
    assert np.unique(panoramas.city[validation.panoramas]).tolist() == [0, 2]
    for city in (0, 2):
        candidates = np.flatnonzero((panoramas.city == city) & ~panoramas.same_area_test)
        queries = validation.panoramas[panoramas.city[validation.panoramas] == city]
        assert len(queries) == np.ceil(0.1 * len(candidates))
        north, east = panoramas.lat[queries].max(), panoramas.lon[queries].max()
        inside = candidates[(panoramas.lat[candidates] <= north) & (panoramas.lon[candidates] <= east)]
        assert inside.tolist() == queries.tolist()
        # Near to square, so that little training data lies along its border.
        extent = (north - panoramas.lat[candidates].min()) / (east - panoramas.lon[candidates].min())
        assert 0.6 < extent < 1.7
        referred = set(panoramas.references[queries].ravel().tolist())
        gallery = set(validation.tiles[tiles.city[validation.tiles] == city].tolist())
        assert referred <= gallery
        within = np.flatnonzero((tiles.city == city) & (tiles.lat < north - 1e-4) & (tiles.lon < east - 1e-4))
        assert set(within.tolist()) <= gallery, "a tile of the block is not searched"
        assert all(tiles.lat[t] <= north and tiles.lon[t] <= east for t in gallery - referred)
    assert_references_are_the_same_tiles(data, validation)


def test_without_the_same_area_protocol_both_halves_train():
    data = make_data()
    splits = both(data, protocols=("cross_area",))
    assert data.panoramas.same_area_test[splits.train].any()
    assert set(data.panoramas.city[splits.train].tolist()) == {0, 2}


@pytest.mark.parametrize("protocols", [("same_area",), ("cross_area",), ("same_area", "cross_area")])
def test_without_validation_every_training_panorama_trains_and_nothing_selects(protocols, caplog):
    data = make_data()
    with caplog.at_level(logging.INFO):
        splits = both(data, fraction=0.0, protocols=protocols)
    assert list(splits.evaluations) == list(protocols)
    tested = data.panoramas.same_area_test & ("same_area" in protocols)
    trains = np.flatnonzero((data.panoramas.city != 1) & ~tested)
    np.testing.assert_array_equal(splits.train, trains)
    assert f"All {len(trains)} panoramas train" in caplog.text
    with_validation = both(data, protocols=protocols).evaluations
    for name, found in splits.evaluations.items():
        for field in dataclasses.fields(EvaluationSplit):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(with_validation[name], field.name))
    with pytest.raises(ProtocolError, match=r"no split validation.*config\.data\.validation_fraction = 0"):
        evaluation(
            data,
            "validation",
            train_cities=("North",),
            test_cities=("East",),
            protocols=protocols,
            validation_fraction=0.0,
        )


def test_without_validation_as_many_train_as_were_published(vigor_label_archive, tmp_path):
    with tarfile.open(vigor_label_archive) as archive:
        archive.extractall(tmp_path, filter="data")
    cities = ("NewYork", "Seattle")
    data = labels_without_images(tmp_path / "vigor_labels", cities)

    def trained_and_tested(train_cities, test_cities, protocol):
        splits = split(
            data,
            train_cities=train_cities,
            test_cities=test_cities,
            protocols=(protocol,),
            validation_fraction=0.0,
        )
        return len(splits.train), len(splits.evaluations[protocol].panoramas)

    assert trained_and_tested(cities, (), "same_area") == (13_885 + 11_876, 13_884 + 11_875)
    assert trained_and_tested(("NewYork",), ("Seattle",), "cross_area") == (27_769, 23_751)
    # All four: what the recipes promise.
    assert sum(train for _, train, _ in PUBLISHED.values()) == 52_609
    assert 27_769 + 23_751 == sum(sum(PUBLISHED[city][1:]) for city in cities) == 51_520


def labels_without_images(root, cities):
    tables = [labels.read_city(root, city).table("web_mercator") for city in cities]
    tiles, panoramas = (
        np.repeat(np.arange(len(cities)), [len(getattr(table, key)) for table in tables])
        for key in ("tile_lat", "panorama_lat")
    )
    first_tile = np.searchsorted(tiles, np.arange(len(cities)))

    def joined(key):
        return np.concatenate([getattr(table, key) for table in tables])

    return CrossViewData(
        "vigor",
        cities,
        Tiles([], joined("tile_lat"), joined("tile_lon"), tiles),
        Panoramas(
            names=[],
            lat=joined("panorama_lat"),
            lon=joined("panorama_lon"),
            city=panoramas,
            references=joined("references") + first_tile[panoramas][:, None],
            offset_px=joined("offset_px"),
            same_area_test=joined("same_area_test"),
        ),
        [],
        [],
        "labels",
    )


def test_test_splits_do_not_depend_on_what_validates():
    data = make_data()
    few, many = both(data, fraction=0.01).evaluations, both(data, fraction=0.4).evaluations
    for name in ("same_area", "cross_area"):
        for field in dataclasses.fields(EvaluationSplit):
            np.testing.assert_array_equal(getattr(few[name], field.name), getattr(many[name], field.name))


@pytest.mark.parametrize("protocols", [("same_area", "cross_area"), ("cross_area",), ("same_area",)])
def test_an_evaluation_needs_no_more_than_its_own_cities(protocols):
    """The same queries and tiles, whatever other cities the data set holds."""
    data = make_data()
    arguments = {"train_cities": ("North", "South"), "test_cities": ("East",), "same_area_cities": ("South",)}
    for name, whole in both(data, protocols=protocols, same_area_cities=("South",)).evaluations.items():
        cities = cities_of([name], **arguments)
        assert cities == {"validation": ("North", "South"), "same_area": ("South",), "cross_area": ("East",)}[name]
        panoramas = np.isin(data.panoramas.city, [CITIES.index(city) for city in cities])
        tiles = np.isin(data.tiles.city, [CITIES.index(city) for city in cities])
        found = evaluation(
            cut(data, cities, panoramas, tiles), name, **arguments, protocols=protocols, validation_fraction=0.1
        )
        np.testing.assert_array_equal(np.flatnonzero(panoramas)[found.panoramas], whole.panoramas)
        np.testing.assert_array_equal(np.flatnonzero(tiles)[found.tiles], whole.tiles)
        np.testing.assert_array_equal(found.references, whole.references)


def cut(data, cities, panoramas, tiles):
    """The data set with some of its cities alone."""
    city = np.array([cities.index(name) if name in cities else -1 for name in CITIES])
    place = np.cumsum(tiles) - 1
    of = data.panoramas
    return dataclasses.replace(
        data,
        cities=cities,
        tiles=Tiles(
            names=[name for name, kept in zip(data.tiles.names, tiles, strict=True) if kept],
            lat=data.tiles.lat[tiles],
            lon=data.tiles.lon[tiles],
            city=city[data.tiles.city[tiles]],
        ),
        panoramas=Panoramas(
            names=[name for name, kept in zip(of.names, panoramas, strict=True) if kept],
            lat=of.lat[panoramas],
            lon=of.lon[panoramas],
            city=city[of.city[panoramas]],
            references=place[of.references[panoramas]],
            offset_px=of.offset_px[panoramas],
            same_area_test=of.same_area_test[panoramas],
        ),
    )


def test_the_cities_of_several_evaluations_are_in_the_order_of_the_data_set():
    cities = {"train_cities": ("North", "South"), "test_cities": ("East", "North")}
    assert cities_of(["cross_area", "validation"], **cities) == ("North", "South", "East")
    assert cities_of(["cross_area"], **cities) == ("North", "East")


def test_the_log_counts_what_is_held_out_and_dropped(caplog):
    data = make_data()
    with caplog.at_level(logging.INFO):
        splits = both(data)
    validation = splits.evaluations["validation"]
    candidates = np.count_nonzero((data.panoramas.city != 1) & ~data.panoramas.same_area_test)
    dropped = candidates - len(splits.train) - len(validation.panoramas)
    assert (
        f"{len(validation.panoramas)} panoramas and {len(validation.tiles)} tiles; {dropped} panoramas" in caplog.text
    )


def test_unknown_cities_are_named_with_the_known_ones():
    with pytest.raises(
        ProtocolError, match=r"config\.data\.train_cities names Nort; made as prepared holds North, East"
    ):
        both(make_data(), train_cities=("Nort",))
    with pytest.raises(ProtocolError, match=r"config\.data\.test_cities names West"):
        both(make_data(), test_cities=("West",))


def test_splits_without_queries_are_refused_by_name():
    data = make_data(test_half=False)
    with pytest.raises(ProtocolError, match=r"split same_area has no queries.*config\.data\.protocols"):
        both(data)
    with pytest.raises(ProtocolError, match=r"split cross_area has no queries.*config\.data\.test_cities"):
        both(data, test_cities=(), protocols=("cross_area",))
    panoramas = dataclasses.replace(data.panoramas, same_area_test=data.panoramas.city == 2)
    with pytest.raises(ProtocolError, match="split validation has no queries in South"):
        both(dataclasses.replace(data, panoramas=panoramas))


def test_nothing_left_to_train_on_is_refused():
    data = make_data(per_city=12)
    with pytest.raises(ProtocolError, match=r"Nothing is left to train on.*validation_fraction"):
        both(data, fraction=0.999)


def test_a_reference_in_another_city_is_named():
    data = make_data()
    references = data.panoramas.references.copy()
    query = int(np.flatnonzero(data.panoramas.city == 1)[3])
    references[query, 2] = 5
    data = dataclasses.replace(data, panoramas=dataclasses.replace(data.panoramas, references=references))
    with pytest.raises(ProtocolError, match=rf"panorama_{query}\.jpg refers to tile tile_5\.png"):
        both(data)


def test_chance_is_the_recall_of_random_ranks():
    gallery = 640
    evaluation = EvaluationSplit(np.arange(2), np.arange(gallery), np.zeros((2, 4), np.int32))
    ranks = np.arange(gallery)  # each equally likely
    expected = {"top1": ranks < 1, "top5": ranks < 5, "top10": ranks < 10, "top1_percent": ranks < 6.4 + 1 - 0.4}
    assert chance(evaluation) == pytest.approx({name: hit.mean() for name, hit in expected.items()})
    tiny = EvaluationSplit(np.arange(2), np.arange(3), np.zeros((2, 4), np.int32))
    assert chance(tiny)["top5"] == 1


def test_same_area_can_test_some_of_the_training_cities_and_the_others_train_whole():
    data = make_data()
    splits = both(data, same_area_cities=("South",))
    south, north = (CITIES.index(name) for name in ("South", "North"))
    same_area = splits.evaluations["same_area"]
    assert set(data.panoramas.city[same_area.panoramas]) == {south}
    assert set(data.tiles.city[same_area.tiles]) == {south}
    held_out = data.panoramas.same_area_test
    assert not held_out[splits.train[data.panoramas.city[splits.train] == south]].any()
    assert held_out[splits.train[data.panoramas.city[splits.train] == north]].any()
    assert len(np.intersect1d(splits.train, same_area.panoramas)) == 0


def test_a_gallery_too_small_for_the_recalls_is_told(caplog):
    """Of fewer than ten tiles the top-10 is always right."""
    data = make_data(per_city=400)
    lat, lon = (np.where(data.tiles.city == 0, values, values + 50) for values in (data.tiles.lat, data.tiles.lon))
    few = dataclasses.replace(data, tiles=dataclasses.replace(data.tiles, lat=lat + 50, lon=lon + 50))
    with caplog.at_level(logging.WARNING, logger="absl"):
        # Of the tiles, all of which lie elsewhere, the gallery has the queries' own alone.
        evaluations = both(few, protocols=("cross_area",), train_cities=("North",), fraction=0.001).evaluations
    assert len(evaluations["validation"].tiles) == 4 < 10 < len(evaluations["cross_area"].tiles)
    assert "The split validation has 4 tiles: whatever the model, its top-10 is 100 %" in caplog.text
    assert "cross_area has" not in caplog.text
