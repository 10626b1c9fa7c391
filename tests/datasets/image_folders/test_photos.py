import numpy as np
import pytest

from vigor_jax.datasets.class_folders import FolderError
from vigor_jax.datasets.image_folders.photos import TreePhotos
from vigor_jax.datasets.photo_source import NoPhotos


def test_a_tree_with_splits(tmp_path, write_photos):
    folders = {"train/b": ["2.jpg", "10.PNG"], "train/a": 1, "val/a": 2, "test/b": 1}
    source = TreePhotos(str(write_photos(tmp_path, folders)))
    table = source.table
    assert table.names == (
        *("train/a/000.jpg", "train/b/10.PNG", "train/b/2.jpg"),
        *("val/a/000.jpg", "val/a/001.jpg", "test/b/000.jpg"),
    )
    assert table.class_names == ("a", "b")
    assert table.labels.tolist() == [0, 1, 1, 0, 0, 1]
    assert table.split.tolist() == [0, 0, 0, 1, 1, 2]
    np.testing.assert_array_equal(table.counts(), [[1, 2, 0], [2, 0, 1]])
    for row, name in enumerate(table.names):
        assert source.read(row) == (tmp_path / name).read_bytes()
        assert source.size_of(row) == (tmp_path / name).stat().st_size
        assert source.name_of(row) == str(tmp_path / name)


def test_a_tree_without_splits(tmp_path, write_photos):
    (write_photos(tmp_path, {"b": 1, "a": 2, ".hidden": 1}) / "a" / "notes.txt").write_text("no photo")
    table = TreePhotos(str(tmp_path)).table
    assert table.names == ("a/000.jpg", "a/001.jpg", "b/000.jpg")
    assert (table.labels.tolist(), table.split.tolist()) == ([0, 0, 1], [0, 0, 0])


def test_other_photos_are_another_identity(tmp_path, write_photos, make_photo):
    first = TreePhotos(str(write_photos(tmp_path / "x", {"a": 2, "b": 1}))).identity()
    assert TreePhotos(str(write_photos(tmp_path / "y", {"a": 2, "b": 1}))).identity() == first
    (tmp_path / "y/a/001.jpg").write_bytes(make_photo(9, 48, 48))
    assert TreePhotos(str(tmp_path / "y")).identity() != first
    assert TreePhotos(str(write_photos(tmp_path / "z", {"a": 2, "b": ["other.jpg"]}))).identity() != first


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({}, "holds no class folders"),
        ({"a": 1, "b": []}, "1 of 2 class folders hold no photos .*: b. Fill or remove them"),
        ({"train/a": 1, "val/b": 1}, "1 classes have no training photos: b"),
        ({"train/a": 1, "others/a": 1}, "has a folder train, so the others should be splits, and others are none"),
        ({"train/a": 1, "val/a": 1, "valid/a": 1}, "has the split validation twice: valid/ and val/"),
        ({"a": 1, "b\n": 1}, r"the folder 'b\\n' cannot be a class"),
        ({"a": ["x\x07.jpg"]}, r"the photo 'x\\x07.jpg' has a name that does not print"),
    ],
)
def test_trees_that_are_none(tmp_path, write_photos, folders, message):
    with pytest.raises(FolderError, match=message):
        _ = TreePhotos(str(write_photos(tmp_path, folders))).table


@pytest.mark.parametrize("root", ["", "/nowhere"])
def test_no_tree(root):
    with pytest.raises(NoPhotos, match=rf"config\.images\.root='{root}'.*<split>/<class>/<photo>"):
        TreePhotos(root)
