"""The panoramas of rendered cities as photos with a class, their city, and the position where each was taken."""

import hashlib

import numpy as np

from vigor_jax.config import DataConfig, ImageDataConfig, RenderedCityConfig
from vigor_jax.datasets import held_out
from vigor_jax.datasets.image_table import PUBLISHED_SPLITS, ImageTable
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.datasets.rendered_city import rendered_city_dataset_builder
from vigor_jax.datasets.rendered_city.city import TEST_CITIES, TRAIN_CITIES
from vigor_jax.errors import UserError

_CITIES = (*TRAIN_CITIES, *TEST_CITIES)


def load(images: ImageDataConfig, rendered_city: RenderedCityConfig, *, verify: bool = False) -> LabelledImages:
    """Reads every rendered city, having rendered those that are not yet.

    They lie at real latitudes and longitudes of three continents. Panoramas are `stored_side` pixels high and twice as
    wide; the same-area protocol's test half tests.

    Raises:
      UserError: no size is named, or the classes are asked for in groups.
    """
    side = images.stored_side
    if side == 0:
        raise UserError("config.images.stored_side = 0: rendered photos have no size of their own. Set one, e.g. 64.")
    if images.classes == "coarse":
        raise UserError('config.images.classes = "coarse": the classes of rendered_city are not grouped. Set "fine".')
    data = rendered_city_dataset_builder.load(
        DataConfig(
            name="rendered_city",
            data_dir=images.data_dir,
            train_cities=_CITIES,
            protocols=("same_area",),
            aerial_size=(side, side),
            ground_size=(side, 2 * side),
        ),
        rendered_city,
        verify=verify,
    )
    panoramas = data.panoramas
    train, test = (PUBLISHED_SPLITS.index(split) for split in ("train", "test"))
    table = ImageTable(
        tuple(panoramas.names),
        panoramas.city.astype(np.int32),
        np.where(panoramas.same_area_test, test, train).astype(np.int8),
        data.cities,
        lat=panoramas.lat,
        lon=panoramas.lon,
    )
    splits = held_out.divide(table, images.validation_fraction)
    fingerprint = hashlib.sha256(f"{data.fingerprint}\n{table.digest()}\n".encode())
    for rows in (splits.train, splits.validation, splits.test):
        fingerprint.update(rows.astype(np.int64).tobytes() + b"\n")
    return LabelledImages(
        name="rendered_city",
        names=table.names,
        labels=table.labels,
        class_names=tuple(data.cities),
        images=data.ground,
        sizes=np.tile(np.array([side, 2 * side], np.int32), (len(table.names), 1)),
        train=splits.train,
        validation=splits.validation,
        test=splits.test,
        lat=table.lat,
        lon=table.lon,
        fingerprint=fingerprint.hexdigest(),
    )
