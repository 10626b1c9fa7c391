import dataclasses
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vigor_jax.config import ImageDataConfig
from vigor_jax.datasets import held_out, load_images, photo
from vigor_jax.datasets.grocery.photos import GroceryError, GroceryPhotos
from vigor_jax.datasets.image_codec import ImageError
from vigor_jax.datasets.photo_source import NoPhotos

CLASSES = """\
Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),Iconic Image Path (str)
Kiwi,0,Kiwi,0,/a
Pink-Lady,1,Apple,1,/b
Granny-Smith,2,Apple,1,/c
"""
TRAIN = "train/Kiwi/1.jpg, 0, 0\ntrain/Apple/1.jpg, 2, 1\ntrain/Apple/2.jpg, 1, 1\ntrain/Kiwi/2.jpg, 0, 0\n"
VAL = "val/Kiwi/1.jpg, 0, 0"


@pytest.fixture
def write_zip(tmp_path, make_photo):
    def write(classes=CLASSES, train=TRAIN, val=VAL, without=()):
        path = tmp_path / "grocery.zip"
        files = {"g/classes.csv": classes, "g/train.txt": train, "g/val.txt": val}
        lines = [line for text in (TRAIN, VAL) for line in text.splitlines()]
        files |= {f"g/{line.split(',')[0]}": make_photo(seed) for seed, line in enumerate(lines)}
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                if name.removeprefix("g/") not in without:
                    archive.writestr(name, content)
        return str(path)

    return write


def test_photos_and_both_kinds_of_classes(write_zip, make_photo):
    source = GroceryPhotos(write_zip())
    table = source.table
    assert table.names[1:3] == ("train/Apple/1.jpg", "train/Apple/2.jpg")
    assert (table.labels.tolist(), table.split.tolist()) == ([0, 2, 1, 0, 0], [0, 0, 0, 0, 1])
    assert (table.class_names, table.coarse_names) == (("Kiwi", "Pink-Lady", "Granny-Smith"), ("Kiwi", "Apple"))
    assert table.coarse_of_class.tolist() == [0, 1, 1]
    for row in range(5):
        assert source.read(row) == make_photo(row)
        assert source.size_of(row) == len(make_photo(row))
    assert source.name_of(4).endswith("grocery.zip: g/val/Kiwi/1.jpg")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": TRAIN + "train/Kiwi/9.jpg, 0, 0"}, "train.txt, line 5: there is no train/Kiwi/9.jpg"),
        ({"without": ("train/Kiwi/2.jpg", "val/Kiwi/1.jpg")}, "train.txt, line 4: there is no .*\n.*val.txt, line 1"),
        ({"val": "val/Kiwi/1.jpg, 1, 0"}, "val.txt, line 1: class 1 is not of the coarse class 0"),
        ({"val": "val/Kiwi/1.jpg, 3, 0"}, "val.txt, line 1: .* is not a photo with the ids"),
        ({"val": "val/Kiwi/1.jpg; 0; 0"}, "val.txt, line 1: .* is not a photo with the ids"),
        ({"val": "train/Kiwi/1.jpg, 0, 0"}, "1 photos are listed twice"),
        ({"train": "", "val": ""}, "it lists no photos"),
        ({"classes": CLASSES.replace("0,Kiwi,0", "7,Kiwi,0")}, "the ids in classes.csv are not 0, 1, 2"),
        ({"classes": "name,id\nKiwi,0\n"}, "classes.csv cannot be understood"),
        ({"without": ("classes.csv",)}, "expected one classes.csv within, found 0"),
    ],
)
def test_a_zip_that_is_not_as_published(write_zip, change, message):
    with pytest.raises(GroceryError, match=message):
        _ = GroceryPhotos(write_zip(**change)).table


def test_no_zip_and_a_damaged_one(write_zip, tmp_path):
    with pytest.raises(NoPhotos, match=r"config\.images\.root='/nowhere\.zip'.*names the \.zip itself"):
        GroceryPhotos("/nowhere.zip")
    path = Path(write_zip())
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xd8\xff") + 60
    data[at] ^= 255
    path.write_bytes(data)
    source = GroceryPhotos(str(path))
    with pytest.raises(ImageError, match=r"train/Kiwi/1\.jpg cannot be unpacked \(Bad CRC-32"):
        source.read(0)
    path.write_bytes(data[:100])
    with pytest.raises(GroceryError, match=r"cannot be read as a \.zip"):
        GroceryPhotos(str(path))


def test_the_mini_zip_is_prepared_once_for_both_kinds_of_classes(write_zip, tmp_path, make_photo):
    config = ImageDataConfig(name="grocery", root=write_zip(), data_dir=str(tmp_path), validation_fraction=0.0)
    fine, coarse = load_images(config), load_images(dataclasses.replace(config, classes="coarse"))
    assert (fine.labels.tolist(), fine.class_names) == ([0, 2, 1, 0, 0], ("Kiwi", "Pink-Lady", "Granny-Smith"))
    assert (coarse.labels.tolist(), coarse.class_names) == ([0, 1, 1, 0, 0], ("Kiwi", "Apple"))
    assert fine.fingerprint != coarse.fingerprint
    assert [path.name for path in (tmp_path / "grocery").iterdir()] == [
        f"side256-{GroceryPhotos(config.root).identity()}-1of1"
    ]
    # Smaller than 256, so not encoded again.
    assert [fine.images[row] for row in range(5)] == [make_photo(row) for row in range(5)]


def test_the_groceries_themselves(grocery_zip):
    source = GroceryPhotos(str(grocery_zip))
    table = source.table
    assert (len(table.names), len(table.class_names), len(table.coarse_names)) == (2936, 81, 43)
    assert table.counts().sum(axis=0).tolist() == [2640, 296, 0]
    assert table.counts()[:, 0].min() >= 1
    assert set(table.coarse_of_class) == set(range(43))
    assert table.coarse_names[table.coarse_of_class[table.class_names.index("Granny-Smith")]] == "Apple"
    for row in range(0, 2936, 100):
        decoded = photo.decode(source.read(row), source.name_of(row))
        assert (decoded.image.shape, decoded.converted) == ((128, 128, 3), ())
    splits = held_out.divide(table, 0.1)
    assert set(table.labels[splits.train]) == set(range(81))
    assert 220 < len(splits.validation) < 310
    np.testing.assert_array_equal(splits.test, np.arange(2640, 2936))
