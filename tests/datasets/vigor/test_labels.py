import shutil
import tarfile

import numpy as np
import pytest

from vigor_jax.datasets.vigor import labels
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
    ["../../etc/passwd,47.6,-122.3,.jpg", "a/b,47.6,-122.3,.jpg", "a\\b,47.6,-122.3,.jpg", ".x,47.6,-122.3,.jpg"],
)
def test_panorama_names_cannot_leave_their_folder(write_vigor, name):
    mini = write_vigor()
    edit(mini, lambda line: " ".join([name, *line.split(" ")[1:]]))
    assert_error(mini, "line 2", repr(name), "without folders")


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
    assert_error(mini, "line 2", "not a finite number")
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
    assert_error(mini, "line 5", "already stands in line 1")


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
