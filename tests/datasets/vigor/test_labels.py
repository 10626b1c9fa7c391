import shutil
import tarfile

import numpy as np
import pytest

from vigor_jax.datasets.vigor import image_folders, labels
from vigor_jax.errors import UserError


def test_labels_are_read_as_written(write_vigor):
    mini = write_vigor()
    for city in ("Chicago", "Seattle"):
        read = labels.read_city(mini.root, city)
        assert list(read.tile_names) == mini.tiles[city]
        assert list(read.panorama_names) == mini.panoramas[city]
        np.testing.assert_array_equal(read.references, mini.references[city])
        np.testing.assert_array_equal(read.published_offset_px, np.round(mini.offsets[city]))
        assert read.same_area_test.tolist() == [False] * 4 + [True] * 3
        np.testing.assert_allclose(read.panorama_lat, [float(n.split(",")[1]) for n in mini.panoramas[city]])
        np.testing.assert_allclose(read.table("web_mercator").offset_px, mini.offsets[city], atol=1e-6)
        np.testing.assert_array_equal(read.table("label_file").offset_px, np.round(mini.offsets[city]))
    assert labels.find_cities(mini.root) == ["Chicago", "Seattle"]


def test_original_names_and_the_list_of_all(write_vigor):
    mini = write_vigor(label_set="original")
    read = labels.read_city(mini.root, "Seattle", "original")
    np.testing.assert_array_equal(read.published_offset_px, np.round(mini.offsets["Seattle"]) + 30)
    np.testing.assert_allclose(read.table().offset_px, mini.offsets["Seattle"], atol=1e-6)
    for half in ("train", "test"):
        (mini.root / f"splits/Seattle/same_area_balanced_{half}.txt").unlink()
    whole = labels.read_city(mini.root, "Seattle", "original")
    assert whole.panorama_names == read.panorama_names
    assert not whole.same_area_test.any()


def test_corrected_files_may_lie_beside_the_original_ones(write_vigor):
    mini = write_vigor(label_set="corrected")
    (mini.root / "splits__corrected").rename(mini.root / "splits")
    assert len(labels.read_city(mini.root, "Seattle").panorama_names) == 7


def edit(mini, change, name="same_area_balanced_train__corrected.txt", line=2):
    """Rewrites one line (1-based) of a label file of Seattle; returns the file's path."""
    path = mini.root / "splits__corrected" / "Seattle" / name
    lines = path.read_text().split("\n")
    lines[line - 1] = change(lines[line - 1])
    path.write_text("\n".join(lines))
    return path


def assert_error(mini, *parts):
    with pytest.raises(UserError) as caught:
        labels.read_city(mini.root, "Seattle")
    for part in parts:
        assert part in str(caught.value)
    return str(caught.value)


def test_a_line_with_12_columns(write_vigor):
    mini = write_vigor()
    path = edit(mini, lambda line: line.rsplit(" ", 1)[0])
    assert_error(mini, f"{path}, line 2: 12 columns, expected 13", mini.panoramas["Seattle"][1], "mend the line")


def test_a_tile_that_the_list_lacks(write_vigor):
    mini = write_vigor()
    tile = mini.tiles["Seattle"][mini.references["Seattle"][1, 2]]
    path = edit(mini, lambda line: line.replace(tile, "satellite_47.0_-122.0.png"))
    assert_error(
        mini, f"{path}, line 2: tile satellite_47.0_-122.0.png is not in", "satellite_list.txt", "extract both"
    )


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd,47.6,-122.3,.jpg",
        "/etc/passwd,47.6,-122.3,.jpg",
        "a/b,47.6,-122.3,.jpg",
        "a\\b,47.6,-122.3,.jpg",
        ".x,47.6,-122.3,.jpg",
        "..,47.6,-122.3,.jpg",
        "a\0b,47.6,-122.3,.jpg",
        "a\x1b[2Jb,47.6,-122.3,.jpg",
        "\ufeffa,47.6,-122.3,.jpg",
        "a" * 300 + ",47.6,-122.3,.jpg",
    ],
)
def test_panorama_names_cannot_leave_their_folder(write_vigor, name):
    mini = write_vigor()
    edit(mini, lambda line: " ".join([name, *line.split(" ")[1:]]))
    assert_error(mini, "line 2", repr(name[:120]), "without folders")


@pytest.mark.parametrize("city", ["..", "../VIGOR", "/etc", "", ".hidden", "a/b", "a\\b", "a\0b"])
def test_city_names_cannot_leave_the_root(write_vigor, city):
    mini = write_vigor()
    for attempt in (
        lambda: labels.read_city(mini.root, city),
        lambda: labels.find_file(mini.root, city, labels.TILE_LIST),
        lambda: image_folders.ImageFolders.find(mini.root, city),
    ):
        with pytest.raises(UserError, match="is not a city's name"):
            attempt()


@pytest.mark.parametrize("name", ["../../satellite_47.6_-122.3.png", "satellite_47.6_-122.3.jpg", "satellite_47.6.png"])
def test_tile_names_are_checked(write_vigor, name):
    mini = write_vigor()
    path = edit(mini, lambda _: name, "satellite_list.txt", 3)
    assert_error(mini, f"{path}, line 3", name, "satellite_<lat>_<lon>.png")


def test_other_damage_is_named(write_vigor, tmp_path):
    def fresh():
        shutil.rmtree(tmp_path / "VIGOR", ignore_errors=True)
        return write_vigor()

    mini = fresh()
    edit(mini, lambda line: line.rsplit(" ", 1)[0] + " twelve")
    assert_error(mini, "line 2", "twelve", "offsets")
    mini = fresh()
    edit(mini, lambda line: line.rsplit(" ", 1)[0] + " nan")
    assert_error(mini, "line 2", "nan", "not a finite number")
    mini = fresh()
    edit(mini, lambda line: line, line=2)
    first = (mini.root / "splits__corrected/Seattle/same_area_balanced_train__corrected.txt").read_text().split("\n")[0]
    edit(mini, lambda _: first, "same_area_balanced_test__corrected.txt", 3)
    assert_error(mini, "line 3", "already stands in", "train__corrected.txt, line 1")
    mini = fresh()
    edit(mini, lambda line: line.replace(",47.", ",97."))
    assert_error(mini, "line 2", "latitude 97.", "no place")
    mini = fresh()
    edit(mini, lambda _: mini.tiles["Seattle"][0], "satellite_list.txt", 5)
    assert_error(mini, "line 5", "already stands in", "satellite_list.txt, line 1")


def test_every_wrong_line_is_told_at_once(write_vigor):
    mini = write_vigor()
    for line in (1, 3, 4):
        edit(mini, lambda line: line.rsplit(" ", 1)[0], line=line)
    message = assert_error(mini, "line 1: 12 columns", "line 3: 12 columns", "line 4: 12 columns")
    assert "line 2" not in message


def test_many_wrong_lines_are_counted(write_vigor):
    mini = write_vigor(panoramas=40, trains=30)
    path = edit(mini, lambda line: line)
    path.write_text("\n".join(line.rsplit(" ", 1)[0] for line in path.read_text().split("\n")))
    message = assert_error(mini, f"and 20 more wrong lines of {path}")
    assert message.count("12 columns") == 10


def test_bytes_that_are_no_text(write_vigor):
    mini = write_vigor()
    path = edit(mini, lambda line: line)
    path.write_bytes(path.read_bytes().replace(b"Se-1_", b"Se-\xff_"))
    assert_error(mini, f"{path}, line 2: not text in UTF-8", "Extract the labels again")


@pytest.mark.parametrize("number", ["1_0", "inf", "-nan", "1e999", "0x10", "\u0661", ""])
def test_what_only_python_takes_for_an_offset(write_vigor, number):
    mini = write_vigor()
    edit(mini, lambda line: " ".join([*line.split(" ")[:-1], number]))
    assert_error(mini, "line 2", "not a finite number" if number else "12 columns")


def test_the_same_id_at_two_places(write_vigor):
    """In one list, and across train and test, where it would be trained on and tested."""
    for file in ("same_area_balanced_train__corrected.txt", "same_area_balanced_test__corrected.txt"):
        mini = write_vigor()
        first = mini.panoramas["Seattle"][0].split(",")[0]
        edit(mini, lambda line, first=first: ",".join([first, *line.split(",")[1:]]), file, 3)
        assert_error(mini, f"{file}, line 3: a panorama {first!r} already stands in", "line 1, at another place")
        shutil.rmtree(mini.root)


def test_a_label_that_points_outside_its_city(write_vigor):
    mini = write_vigor()
    name = mini.panoramas["Seattle"][1]
    elsewhere = name.replace(",47.", ",48.")
    path = edit(mini, lambda line: line.replace(name, elsewhere))
    assert_error(
        mini, "1 of 7 panoramas do not lie on their tiles", f"{path}, line 2: {elsewhere} lies 11", "its positive"
    )


def test_a_panorama_beside_its_tile(write_vigor):
    """The positive must contain it, a semi-positive may miss it, but not by more than its own size."""
    mini = write_vigor(rows=5, columns=5)
    tiles, references = mini.tiles["Seattle"], mini.references["Seattle"][1]
    far = next(t for t in (0, 4, 20, 24) if np.abs(np.subtract(divmod(t, 5), divmod(references[0], 5))).max() > 2)
    path = edit(mini, lambda line: line.replace(tiles[references[0]], tiles[far]))
    assert_error(mini, f"{path}, line 2: {mini.panoramas['Seattle'][1]} lies", "the centre of its positive")
    edit(mini, lambda line: line.replace(tiles[far], tiles[references[0]]).replace(tiles[references[2]], tiles[far]))
    assert_error(mini, f"{path}, line 2: {mini.panoramas['Seattle'][1]} lies", "the centre of its semi-positive 2")


def swap(name: str) -> str:
    """A panorama's or tile's name with latitude and longitude exchanged."""
    if name.startswith("satellite_"):
        lat, lon = name.removesuffix(".png").split("_")[1:]
        return f"satellite_{lon}_{lat}.png"
    identity, lat, lon, end = name.rsplit(",", 3)
    return ",".join([identity, lon, lat, end])


@pytest.fixture
def new_york(write_vigor):
    """A city whose longitude could be a latitude, so that a swapped position is a place."""
    mini = write_vigor(cities=("NewYork",))
    folder = mini.root / "splits__corrected" / "NewYork"

    def rewrite(*, panoramas=lambda name: False, tiles=lambda name: False):
        for path in folder.iterdir():
            names = [
                swap(word) if (tiles if word.startswith("satellite_") else panoramas)(word) else word
                for word in path.read_text().replace("\n", " \n ").split(" ")
            ]
            path.write_text(" ".join(names).replace(" \n ", "\n"))
        with pytest.raises(UserError) as caught:
            labels.read_city(mini.root, "NewYork")
        return str(caught.value)

    labels.read_city(mini.root, "NewYork")
    return mini, rewrite


def test_a_panorama_with_latitude_and_longitude_swapped(new_york):
    mini, rewrite = new_york
    name = mini.panoramas["NewYork"][2]
    message = rewrite(panoramas=lambda word: word == name)
    assert "line 3: " + swap(name) in message
    assert "its latitude and longitude are swapped" in message


def test_a_tile_with_latitude_and_longitude_swapped(new_york):
    mini, rewrite = new_york
    name = mini.tiles["NewYork"][4]
    message = rewrite(tiles=lambda word: word == name)
    assert f"satellite_list.txt, line 5: {swap(name)} lies" in message
    assert "its latitude and longitude are swapped" in message


def test_all_panoramas_swapped_or_all_tiles(new_york):
    _, rewrite = new_york
    message = rewrite(panoramas=lambda word: word.endswith(",.jpg"))
    assert "7 of 7 panoramas do not lie on their tiles" in message
    assert message.count("its latitude and longitude are swapped") == 5
    assert "and 2 more" in message
    # Those of the panoramas back, and those of the tiles instead.
    message = rewrite(panoramas=lambda word: word.endswith(",.jpg"), tiles=lambda word: True)
    assert message.count("is not where its tiles are: their latitudes and longitudes are swapped") == 5


def test_a_whole_city_with_latitude_and_longitude_swapped(new_york):
    """Consistent in itself: only the published offsets tell."""
    _, rewrite = new_york
    message = rewrite(panoramas=lambda word: word.endswith(",.jpg"), tiles=lambda word: True)
    assert "line 1: latitude and longitude are swapped, here and in every name of the city" in message


def test_swapped_where_a_longitude_is_no_latitude(write_vigor):
    mini = write_vigor()
    edit(mini, lambda line: line.replace(mini.panoramas["Seattle"][1], swap(mini.panoramas["Seattle"][1])))
    assert_error(mini, "line 2", "latitude -122.", "no place. They look swapped.")
    mini.tiles["Seattle"][3:4] = [swap(mini.tiles["Seattle"][3])]
    edit(mini, lambda _: mini.tiles["Seattle"][3], "satellite_list.txt", 4)
    assert_error(mini, "satellite_list.txt, line 4", "latitude -122.", "They look swapped.")


@pytest.mark.parametrize(("label_set", "off", "refused"), [("corrected", 14, False), ("corrected", 18, True)])
def test_absurd_offsets(write_vigor, label_set, off, refused):
    mini = write_vigor(label_set=label_set)
    edit(mini, lambda line: " ".join([*line.split(" ")[:-1], str(float(line.split(" ")[-1]) + off)]))
    if refused:
        assert_error(
            mini, "1 of 7 lines give offsets that contradict", "line 2: tile 4 of", "by the names", "by the line"
        )
    else:
        labels.read_city(mini.root, "Seattle")


def test_the_original_offsets_may_differ_by_what_their_resolution_makes_of_them(write_vigor):
    mini = write_vigor(label_set="original")  # 30 px off in both directions
    labels.read_city(mini.root, "Seattle", "original")
    path = mini.root / "splits" / "Seattle" / "same_area_balanced_train.txt"
    lines = path.read_text().split("\n")
    columns = lines[1].split(" ")
    path.write_text("\n".join([lines[0], " ".join([*columns[:-1], str(float(columns[-1]) + 60)]), *lines[2:]]))
    with pytest.raises(labels.LabelError, match="contradict their names by more than 80 px"):
        labels.read_city(mini.root, "Seattle", "original")


def test_a_city_with_tiles_but_no_panoramas(write_vigor):
    mini = write_vigor()
    for half in ("train", "test"):
        (mini.root / f"splits__corrected/Seattle/same_area_balanced_{half}__corrected.txt").unlink()
    assert_error(
        mini,
        "Seattle has tiles but no panoramas",
        "same_area_balanced_train__corrected.txt and same_area_balanced_test__corrected.txt missing",
        "leave the city out",
    )


def test_the_other_label_set_is_pointed_at(write_vigor):
    mini = write_vigor(label_set="original")
    assert_error(mini, "train__corrected.txt", "--config.data.labels=original")


def test_the_published_archive(vigor_label_archive, tmp_path):
    with tarfile.open(vigor_label_archive) as archive:
        archive.extractall(tmp_path, filter="data")
    root = tmp_path / "vigor_labels"
    assert labels.find_cities(root) == ["Chicago", "NewYork", "SanFrancisco", "Seattle"]
    seattle = labels.read_city(root, "Seattle")
    assert len(seattle.tile_names) == 20_776
    assert (~seattle.same_area_test).sum() == 11_876
    assert seattle.same_area_test.sum() == 11_875
    error = np.abs(seattle.table("web_mercator").offset_px - seattle.table("label_file").offset_px)
    assert error.max() < 5.7
    with pytest.raises(labels.LabelError, match="SanFrancisco has tiles but no panoramas"):
        labels.read_city(root, "SanFrancisco")
