import numpy as np
import pytest

from vigor_jax.config import ImageDataConfig
from vigor_jax.datasets import load_images
from vigor_jax.datasets.photo_positions.photos import LIST, PositionedPhotos, PositionListError
from vigor_jax.datasets.photo_source import NoPhotos


@pytest.fixture
def folder(tmp_path, write_photos):
    return write_photos(tmp_path / "photos", {"a": 3, "b/c": 2})


def listed(folder, *lines, header="photo,lat,lon,split"):
    (folder / LIST).write_text("\n".join([header, *lines]))
    return PositionedPhotos(str(folder))


def test_photos_and_positions_in_the_order_of_the_list(folder):
    table = listed(folder, "b/c/001.jpg,-33.9,151.25,test", "a/000.jpg,+48.,11.5,train", "a/001.jpg,0,-180,train").table
    assert table.names == ("b/c/001.jpg", "a/000.jpg", "a/001.jpg")
    np.testing.assert_array_equal(table.lat, [-33.9, 48.0, 0.0])
    np.testing.assert_array_equal(table.lon, [151.25, 11.5, -180.0])
    assert table.split.tolist() == [2, 0, 0]


def test_without_splits_all_train(folder):
    assert listed(folder, "a/000.jpg,1,2", header="photo,lat,lon").table.split.tolist() == [0]


def test_prepared_photos_keep_their_positions(folder, tmp_path):
    lines = [f"{photo.relative_to(folder)},{row}.5,{-row}" for row, photo in enumerate(sorted(folder.rglob("*.jpg")))]
    listed(folder, *lines, header="photo,lat,lon")
    config = ImageDataConfig(
        name="photo_positions", root=str(folder), data_dir=str(tmp_path / "prepared"), validation_fraction=0.4
    )
    for _ in ("prepared", "read"):
        data = load_images(config)
        np.testing.assert_array_equal(data.lat, np.arange(5) + 0.5)
        np.testing.assert_array_equal(data.lon, -np.arange(5.0))
        assert data.images[0] == (folder / data.names[0]).read_bytes()
    moved = [lines[0].replace("0.5", "0.25"), *lines[1:]]
    listed(folder, *moved, header="photo,lat,lon")
    assert load_images(config).fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a/000.jpg,91,0,train", r"line 3: latitude '91', longitude '0'. Expected degrees"),
        ("a/000.jpg,nan,0,train", "latitude 'nan'"),
        ('a/000.jpg,"48,1",11,train', "latitude '48,1'"),
        ("a/000.jpg,1,180.5,train", "longitude '180.5'"),
        ("a/000.jpg,1,2", "line 3: 3 columns, expected 4"),
        ("a/000.jpg,1,2,val", "the split 'val' is none. Splits are train, validation, test"),
        ("a/009.jpg,1,2,train", "there is no .*a/009.jpg"),
        ("../a/000.jpg,1,2,train", "is not a photo's path below"),
        ("/a/000.jpg,1,2,train", "is not a photo's path below"),
        ("a/000.txt,1,2,train", "is not a photo's path below"),
        ("a/001.jpg,1,2,train", "line 3: a/001.jpg stands in line 2 too"),
        ('"a/000.jpg,1,2,train', "cannot be read as UTF-8 CSV"),
    ],
)
def test_a_wrong_line_is_named(folder, line, message):
    with pytest.raises(PositionListError, match=message):
        listed(folder, "a/001.jpg,1,2,train", line).table  # noqa: B018


def test_a_wrong_list_is_named(folder):
    with pytest.raises(NoPhotos, match="photo,lat,lon"):
        PositionedPhotos(str(folder))
    with pytest.raises(PositionListError, match="the first line is 'name,lat,lon'"):
        listed(folder, header="name,lat,lon").table  # noqa: B018
    with pytest.raises(PositionListError, match="names no photos"):
        listed(folder).table  # noqa: B018
