import concurrent.futures
import dataclasses
import shutil

import numpy as np
import pytest

from vigor_jax import datasets
from vigor_jax.config import RenderedCityConfig
from vigor_jax.datasets import image_codec
from vigor_jax.errors import UserError


def load(config):
    return datasets.load(config, RenderedCityConfig())


def assert_refused(config, *parts):
    with pytest.raises(UserError) as caught:
        load(config)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("label_set", ["corrected", "original"])
@pytest.mark.parametrize("layout", ["vigor", "by_view"])
def test_tables_and_images_as_written(write_vigor, tmp_path, layout, label_set):
    mini = write_vigor(layout=layout, label_set=label_set)
    data = load(mini.config(tmp_path / "prepared", labels=label_set))
    assert data.cities == ("Seattle", "Chicago")
    assert list(data.tiles.names) == mini.tiles["Seattle"] + mini.tiles["Chicago"]
    assert list(data.panoramas.names) == mini.panoramas["Seattle"] + mini.panoramas["Chicago"]
    assert data.tiles.city.tolist() == [0] * 12 + [1] * 12
    assert data.panoramas.same_area_test.tolist() == ([False] * 4 + [True] * 3) * 2
    np.testing.assert_array_equal(data.panoramas.references[:7], mini.references["Seattle"])
    np.testing.assert_array_equal(data.panoramas.references[7:], mini.references["Chicago"] + 12)
    expected = np.concatenate([mini.offsets["Seattle"], mini.offsets["Chicago"]])
    np.testing.assert_allclose(data.panoramas.offset_px, expected, atol=1e-6)
    for images, names, shape in (
        (data.aerial, data.tiles.names, (32, 32, 3)),
        (data.ground, data.panoramas.names, (32, 64, 3)),
    ):
        assert len(images) == len(names)
        for row, name in enumerate(names):
            image = image_codec.decode(images[row], name)
            assert image.shape == shape
            np.testing.assert_allclose(image.reshape(-1, 3).mean(0), mini.pixels[name], atol=3)


def test_the_label_files_own_offsets(write_vigor, tmp_path):
    mini = write_vigor(label_set="original")
    data = load(mini.config(tmp_path / "prepared", labels="original", offsets="label_file"))
    np.testing.assert_array_equal(data.panoramas.offset_px[:7], np.round(mini.offsets["Seattle"]) + 30)


def test_only_the_cities_the_protocols_need(write_vigor, tmp_path):
    mini = write_vigor(cities=("Seattle",))
    assert load(mini.config(tmp_path / "prepared", protocols=("same_area",))).cities == ("Seattle",)


def test_preparations_do_not_collide(write_vigor, tmp_path):
    mini = write_vigor()
    config = mini.config(tmp_path / "prepared")
    first = load(config)
    small = load(dataclasses.replace(config, aerial_size=(16, 16)))
    own = load(dataclasses.replace(config, offsets="label_file"))
    assert image_codec.decode(first.aerial[0], "a").shape == (32, 32, 3)
    assert image_codec.decode(small.aerial[0], "a").shape == (16, 16, 3)
    assert not np.array_equal(own.panoramas.offset_px, first.panoramas.offset_px)
    assert len({first.fingerprint, small.fingerprint, own.fingerprint}) == 3
    assert load(config).fingerprint == first.fingerprint


def test_changed_images_or_labels_are_prepared_anew(write_vigor, tmp_path):
    mini = write_vigor()
    config = mini.config(tmp_path / "prepared")
    first = load(config)
    path = mini.root / "Seattle" / "satellite" / mini.tiles["Seattle"][0]
    path.write_bytes(image_codec.encode_png(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)))
    second = load(config)
    assert second.fingerprint != first.fingerprint
    assert second.aerial[0] != first.aerial[0]
    assert second.aerial[1] == first.aerial[1]


def test_a_prepared_city_is_read_without_its_raw_files(write_vigor, tmp_path):
    mini = write_vigor()
    config = mini.config(tmp_path / "prepared")
    first = load(config)
    shutil.rmtree(mini.root / "Seattle")  # the images alone
    assert load(config).fingerprint == first.fingerprint
    shutil.rmtree(mini.root)
    assert load(config).fingerprint == first.fingerprint
    folder = next((tmp_path / "prepared" / "vigor").glob("Seattle-*"))
    shutil.copytree(folder, folder.with_name(folder.name[:-8] + "00000000"))
    assert_refused(config, "Seattle is prepared from 2 different sources", folder.name, "--config.data.root=")


def test_four_threads_read_what_one_reads(write_vigor, tmp_path):
    data = load(write_vigor().config(tmp_path / "prepared"))
    alone = [data.aerial[row] for row in range(24)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for row, image in zip(list(range(24)) * 8, pool.map(data.aerial.__getitem__, list(range(24)) * 8), strict=True):
            assert image == alone[row]


def test_no_data_at_the_root(write_vigor, tmp_path):
    config = write_vigor().config(tmp_path / "prepared", root=str(tmp_path / "elsewhere"))
    assert_refused(
        config,
        f"no VIGOR data at --config.data.root='{tmp_path / 'elsewhere'}'",
        str(tmp_path / "elsewhere" / "splits__corrected"),
        str(tmp_path / "prepared"),
        "https://github.com/Jeff-Zilence/VIGOR",
        "python main.py --config=configs/demo.py",
        "python main.py --config=configs/cross_area.py:rendered",
    )


def test_an_unknown_city(write_vigor, tmp_path):
    config = write_vigor().config(tmp_path / "prepared", train_cities=("Boston",))
    assert_refused(config, "no city 'Boston'", "Chicago, Seattle", "--config.data.train_cities=")
    config = dataclasses.replace(config, train_cities=("Seattle",), test_cities=("Boston",))
    assert_refused(config, "no city 'Boston'", "--config.data.test_cities=")


def test_missing_image_folders(write_vigor, tmp_path):
    mini = write_vigor()
    shutil.rmtree(mini.root / "Seattle" / "panorama")
    assert_refused(
        mini.config(tmp_path / "prepared"),
        "no ground images of Seattle",
        str(mini.root / "Seattle" / "panorama"),
        str(mini.root / "ground" / "Seattle"),
    )


@pytest.mark.parametrize("row", [0, 5])
def test_a_tile_that_is_not_on_disk(write_vigor, tmp_path, row):
    mini = write_vigor()
    name = mini.tiles["Seattle"][row]
    (mini.root / "Seattle" / "satellite" / name).unlink()
    config = mini.config(tmp_path / "prepared")
    assert_refused(config, "1 of Seattle's 12 aerial images", name, "vigor-jax check --root=")


def test_a_truncated_panorama(write_vigor, tmp_path):
    mini = write_vigor()
    path = mini.root / "Chicago" / "panorama" / mini.panoramas["Chicago"][3]
    path.write_bytes(path.read_bytes()[:-40])
    config = mini.config(tmp_path / "prepared")
    assert_refused(
        config, f"{path}: this JPEG is truncated or corrupt", "Fetch it again", "check --root=... --images=full"
    )
    # Seattle came first and stays; of Chicago nothing may be left.
    assert [p.name.split("-")[0] for p in (tmp_path / "prepared" / "vigor").iterdir() if list(p.iterdir())] == [
        "Seattle"
    ]


def test_same_area_needs_the_halves(write_vigor, tmp_path):
    mini = write_vigor(label_set="original")
    for half in ("train", "test"):
        (mini.root / f"splits/Seattle/same_area_balanced_{half}.txt").unlink()
    config = mini.config(tmp_path / "prepared", labels="original")
    assert_refused(config, "Seattle has only pano_label_balanced.txt", "--config.data.protocols")
    assert len(load(dataclasses.replace(config, protocols=("cross_area",))).panoramas) == 14
