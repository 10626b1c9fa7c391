"""Labelled images as prepared: whole, in order, of the size asked for, in parts that an interruption spares."""

import dataclasses
from pathlib import Path

import pytest

from vigor_jax.config import ConfigError, ImageDataConfig
from vigor_jax.datasets import image_codec, labelled_builder, load_images
from vigor_jax.datasets.image_codec import ImageError
from vigor_jax.datasets.photo_source import NoPhotos
from vigor_jax.errors import UserError


@pytest.fixture
def tree(tmp_path, write_photos) -> Path:
    return write_photos(tmp_path / "photos", {"train/b": 5, "train/a": 4, "val/a": 2, "test/b": 1})


@pytest.fixture
def config(tmp_path, tree) -> ImageDataConfig:
    return ImageDataConfig(name="image_folders", root=str(tree), data_dir=str(tmp_path / "prepared"), stored_side=12)


def folders(config) -> list[str]:
    return sorted(path.name for path in (Path(config.data_dir) / "image_folders").iterdir())


def assert_as_written(data, tree, side):
    """Scaled to a shorter side, encoded; or, where that changes nothing, the files themselves."""
    for row, name in enumerate(data.names):
        file = (tree / name).read_bytes()
        size = (side, round(36 * side / 24)) if side else (24, 36)
        scaled = image_codec.encode_jpeg(image_codec.resize(image_codec.decode(file, name), size))
        assert data.images[row] == (scaled if side else file)
        assert tuple(data.sizes[row]) == size


@pytest.mark.parametrize(("side", "stored"), [(12, 12), (0, 0), (24, 0), (100, 0)])
def test_images_and_tables_as_written(config, tree, side, stored):
    data = load_images(dataclasses.replace(config, stored_side=side))
    assert data.class_names == ("a", "b")
    assert data.names[0] == "train/a/000.jpg"
    assert data.labels.tolist() == [0] * 4 + [1] * 5 + [0] * 2 + [1]
    assert data.train.tolist() == list(range(9))
    assert {name: rows.tolist() for name, rows in data.splits.items()} == {"validation": [9, 10], "test": [11]}
    assert_as_written(data, tree, stored)


def test_a_data_set_in_parts_is_joined_and_an_interruption_costs_one(config, tree, monkeypatch):
    monkeypatch.setattr(labelled_builder, "PHOTOS_A_PART", 5)
    sound = (tree / "train/b/003.jpg").read_bytes()  # row 7, in the second of three parts
    (tree / "train/b/003.jpg").write_bytes(sound[:-20] + bytes(20))
    with pytest.raises(ImageError, match=r"train/b/003\.jpg.*vigor-jax check --data=image_folders --root="):
        load_images(config)
    (first,) = (name for name in folders(config) if (Path(config.data_dir, "image_folders", name, "1.1.0")).exists())
    assert first.endswith("-1of3")
    # Without the raw data, what is there is not enough.
    with pytest.raises(NoPhotos, match="Only some of its parts are prepared"):
        load_images(dataclasses.replace(config, root=""))
    (tree / "train/b/003.jpg").write_bytes(sound)
    written = (Path(config.data_dir) / "image_folders" / first / "1.1.0" / "files.json").stat().st_mtime_ns
    data = load_images(config)
    assert (Path(config.data_dir) / "image_folders" / first / "1.1.0" / "files.json").stat().st_mtime_ns == written
    assert [name.rsplit("-", 1)[-1] for name in folders(config)] == ["1of3", "2of3", "3of3"]
    assert len(data) == len(data.images) == 12
    assert_as_written(data, tree, 12)
    assert load_images(dataclasses.replace(config, root="")).fingerprint == data.fingerprint


def test_what_decides_the_data_decides_the_fingerprint(config, tree, make_photo):
    first = load_images(config).fingerprint
    assert load_images(dataclasses.replace(config, root="")).fingerprint == first
    assert load_images(dataclasses.replace(config, stored_side=10)).fingerprint != first
    assert load_images(dataclasses.replace(config, crop=8, mirror=False)).fingerprint == first
    (tree / "train/b/000.jpg").write_bytes(make_photo(77, 48, 48))
    assert load_images(config).fingerprint != first
    assert len(folders(config)) == 3
    with pytest.raises(UserError, match=r"prepared from 2 different sources .* Name the root, or delete all but one"):
        load_images(dataclasses.replace(config, root=""))


def test_changed_folders_and_impossible_wishes_are_named(config):
    load_images(config)
    with pytest.raises(UserError, match=r'config\.images\.classes = "coarse": the classes of image_folders are not'):
        load_images(dataclasses.replace(config, classes="coarse"))
    with pytest.raises(ConfigError, match=r"config\.images\.name = 'imagnet'\. Allowed: grocery, image_folders, imag"):
        load_images(dataclasses.replace(config, name="imagnet"))
    with pytest.raises(NoPhotos, match=r"no photos at --config\.images\.root=''"):
        load_images(dataclasses.replace(config, root="", stored_side=99))
    (folder,) = (Path(config.data_dir) / "image_folders").glob("*/1.1.0")
    sizes = folder / "sizes.npy"
    sizes.write_bytes(sizes.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"sizes\.npy has \d+ bytes, not the \d+ that were written"):
        load_images(config)


def test_sizes_keep_proportions_and_nothing_is_enlarged():
    assert labelled_builder.scaled((480, 640), 256) == (256, 341)
    assert labelled_builder.scaled((640, 480), 256) == (341, 256)
    assert labelled_builder.scaled((300, 300), 256) == (256, 256)
    assert labelled_builder.scaled((200, 900), 256) == (200, 900)
    assert labelled_builder.scaled((300, 900), 0) == (300, 900)
