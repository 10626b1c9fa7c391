import dataclasses
import shutil

import numpy as np
import pytest

from vigor_jax import datasets, geometry
from vigor_jax.config import DataConfig, RenderedCityConfig
from vigor_jax.datasets import image_codec
from vigor_jax.datasets.rendered_city import rendered_city_dataset_builder as builder

CONFIG = DataConfig(
    name="rendered_city",
    train_cities=("Ashford",),
    test_cities=("Eastholm",),
    protocols=("same_area", "cross_area"),
    aerial_size=(32, 32),
    ground_size=(32, 64),
)
EXTENT = RenderedCityConfig(seed=3, train_tiles_per_side=6, test_tiles_per_side=4)


@pytest.fixture
def stub_renderer(monkeypatch):
    """Flat images whose colour is the position's last digits: what is tested is who asks for what."""
    asked = []

    def paint(lat, lon, shape):
        asked.append(len(lat))
        colours = np.stack([lat * 1e4 % 200, lon * 1e4 % 200, 0 * lat], -1)
        return np.broadcast_to(colours[:, None, None], (len(lat), *shape, 3)).astype(np.uint8)

    monkeypatch.setattr(builder, "render_tiles", lambda city, lat, lon, size: paint(lat, lon, (size, size)))
    monkeypatch.setattr(builder, "render_panoramas", lambda city, lat, lon, size: paint(lat, lon, size))
    return asked


def test_rendered_without_being_asked(stub_renderer, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "_BYTES_A_CALL", 10 * 3 * 32 * 32)
    config = dataclasses.replace(CONFIG, data_dir=str(tmp_path))
    data = datasets.load(config, EXTENT)
    assert data.cities == ("Ashford", "Eastholm")
    assert np.bincount(data.tiles.city).tolist() == [36, 16]
    assert max(stub_renderer) == 10
    tiles, panoramas = data.tiles, data.panoramas
    # Each panorama lies in the central half of its positive tile, and its offsets are those of the positions.
    expected = geometry.tile_offset(
        panoramas.lat[:, None], panoramas.lon[:, None], tiles.lat[panoramas.references], tiles.lon[panoramas.references]
    )
    np.testing.assert_allclose(panoramas.offset_px, expected, atol=1e-6)
    assert np.abs(panoramas.offset_px[:, 0]).max() <= 160
    assert np.all(tiles.city[panoramas.references] == panoramas.city[:, None])
    for images, table, shape in ((data.aerial, tiles, (32, 32, 3)), (data.ground, panoramas, (32, 64, 3))):
        assert len(images) == len(table)
        for row in range(0, len(table), 5):
            image = image_codec.decode(images[row], "x")
            assert image.shape == shape
            expected = np.floor([table.lat[row] * 1e4 % 200, table.lon[row] * 1e4 % 200, 0])
            np.testing.assert_allclose(image.reshape(-1, 3).mean(0), expected, atol=3)
    # The second time it is read.
    stub_renderer.clear()
    assert datasets.load(config, EXTENT).fingerprint == data.fingerprint
    assert not stub_renderer


def test_what_decides_the_images_decides_the_folder(stub_renderer, tmp_path, monkeypatch):
    config = dataclasses.replace(CONFIG, data_dir=str(tmp_path), protocols=("same_area",))
    fingerprints = {datasets.load(config, EXTENT).fingerprint}
    fingerprints.add(datasets.load(config, dataclasses.replace(EXTENT, seed=4)).fingerprint)
    fingerprints.add(datasets.load(config, dataclasses.replace(EXTENT, train_tiles_per_side=5)).fingerprint)
    fingerprints.add(datasets.load(dataclasses.replace(config, ground_size=(40, 80)), EXTENT).fingerprint)
    monkeypatch.setattr(builder, "renderer_version", lambda: "changed")
    fingerprints.add(datasets.load(config, EXTENT).fingerprint)
    assert len(fingerprints) == 5
    assert len(list((tmp_path / "rendered_city").glob("Ashford-*"))) == 5


def test_renderer_version_follows_the_code(tmp_path, monkeypatch):
    source = builder.Path(builder.__file__).parent
    copy = tmp_path / "rendered_city"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(builder, "__file__", str(copy / "rendered_city_dataset_builder.py"))
    version = builder.renderer_version.__wrapped__
    assert version() == builder.renderer_version()
    with (copy / "rendered_city_dataset_builder.py").open("a") as file:
        file.write("# a comment on storing\n")
    assert version() == builder.renderer_version()
    with (copy / "city.py").open("a") as file:
        file.write("# another world\n")
    assert version() != builder.renderer_version()


def test_what_was_rendered_before_is_not_rendered_again():
    """Any change in the renderer's folder renders every city anew and ends the resumes of older runs.

    If that is meant, write the new version here; if not, change another file.
    """
    assert builder.renderer_version() == "b30abe68"
