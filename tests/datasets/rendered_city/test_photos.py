"""Rendered panoramas as photos of known cities and positions."""

import dataclasses

import numpy as np
import pytest

from vigor_jax.config import ImageDataConfig, RenderedCityConfig
from vigor_jax.datasets import image_codec, load_images
from vigor_jax.datasets.rendered_city import photos, rendered_city_dataset_builder
from vigor_jax.datasets.rendered_city.city import TEST_CITIES, TRAIN_CITIES
from vigor_jax.errors import UserError


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return ImageDataConfig(
        name="rendered_city",
        data_dir=str(tmp_path_factory.mktemp("prepared")),
        stored_side=32,
        validation_fraction=0.2,
        crop=32,
        scales=(32, 32),
    )


@pytest.fixture
def grey(monkeypatch):
    """What is tested is names, classes and positions; rendering has its own tests."""

    def paint(shape):
        return lambda city, lat, lon, size: np.full((len(lat), *shape(size), 3), 128, np.uint8)

    monkeypatch.setattr(rendered_city_dataset_builder, "render_tiles", paint(lambda side: (side, side)))
    monkeypatch.setattr(rendered_city_dataset_builder, "render_panoramas", paint(lambda size: size))


@pytest.mark.usefixtures("grey")
def test_panoramas_of_every_city_with_their_positions(config, monkeypatch):
    monkeypatch.setattr(photos, "_CITIES", (TRAIN_CITIES[0], TEST_CITIES[0]))
    data = load_images(config, RenderedCityConfig(train_tiles_per_side=4, test_tiles_per_side=4))
    assert data.class_names == (TRAIN_CITIES[0], TEST_CITIES[0])
    assert sorted(np.concatenate([data.train, data.validation, data.test])) == list(range(len(data)))
    assert min(map(len, (data.train, data.validation, data.test))) > 0
    for row, name in enumerate(data.names):
        city, lat, lon, _ = name.rsplit(",", 3)
        assert data.class_names[data.labels[row]] == city.rsplit("-", 1)[0]
        assert (float(lat), float(lon)) == pytest.approx((data.lat[row], data.lon[row]), abs=1e-6)
    assert image_codec.decode(data.images[0], "first").shape == (*data.sizes[0], 3) == (32, 64, 3)


def test_what_rendered_photos_have_not_is_refused(config):
    with pytest.raises(UserError, match="no size of their own"):
        load_images(dataclasses.replace(config, stored_side=0))
    with pytest.raises(UserError, match="are not grouped"):
        load_images(dataclasses.replace(config, classes="coarse"))
