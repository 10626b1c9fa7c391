"""Data sets by name, prepared where they are not yet: `load` reads pairs of views, `load_images` labelled images."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from vigor_jax.config import ConfigError, DataConfig, ImageDataConfig, RenderedCityConfig
from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.datasets.labelled_images import LabelledImages

if TYPE_CHECKING:
    from vigor_jax.datasets.photo_source import PhotoSource


# Each imports its builder, and with it TFDS, only when it is the one asked for.
def _load_vigor(
    data: DataConfig, rendered_city: RenderedCityConfig, cities: Sequence[str], verify: bool
) -> CrossViewData:
    del rendered_city
    from vigor_jax.datasets.vigor import vigor_dataset_builder

    return vigor_dataset_builder.load(data, cities, verify=verify)


def _load_rendered_city(
    data: DataConfig, rendered_city: RenderedCityConfig, cities: Sequence[str], verify: bool
) -> CrossViewData:
    from vigor_jax.datasets.rendered_city import rendered_city_dataset_builder

    return rendered_city_dataset_builder.load(data, rendered_city, cities, verify=verify)


def _load_grocery(images: ImageDataConfig, rendered_city: RenderedCityConfig, verify: bool) -> LabelledImages:
    del rendered_city
    from vigor_jax.datasets.grocery import grocery_dataset_builder

    return grocery_dataset_builder.load(images, verify=verify)


def _load_image_folders(images: ImageDataConfig, rendered_city: RenderedCityConfig, verify: bool) -> LabelledImages:
    del rendered_city
    from vigor_jax.datasets.image_folders import image_folders_dataset_builder

    return image_folders_dataset_builder.load(images, verify=verify)


def _load_imagenet(images: ImageDataConfig, rendered_city: RenderedCityConfig, verify: bool) -> LabelledImages:
    del rendered_city
    from vigor_jax.datasets.imagenet import imagenet_dataset_builder

    return imagenet_dataset_builder.load(images, verify=verify)


def _load_photo_positions(images: ImageDataConfig, rendered_city: RenderedCityConfig, verify: bool) -> LabelledImages:
    del rendered_city
    from vigor_jax.datasets.photo_positions import photo_positions_dataset_builder

    return photo_positions_dataset_builder.load(images, verify=verify)


def _load_rendered_photos(images: ImageDataConfig, rendered_city: RenderedCityConfig, verify: bool) -> LabelledImages:
    from vigor_jax.datasets.rendered_city import photos

    return photos.load(images, rendered_city, verify=verify)


REGISTRY = {"vigor": _load_vigor, "rendered_city": _load_rendered_city}
LABELLED_IMAGES = {
    "grocery": _load_grocery,
    "image_folders": _load_image_folders,
    "imagenet": _load_imagenet,
    "photo_positions": _load_photo_positions,
    "rendered_city": _load_rendered_photos,
}


def load(
    data: DataConfig, rendered_city: RenderedCityConfig, *, cities: Sequence[str] | None = None, verify: bool = False
) -> CrossViewData:
    """Reads the cities that a config's protocols need, preparing those that are not prepared yet.

    Args:
      data: of the config.
      rendered_city: of the config.
      cities: those of them to read; None: all.
      verify: read all that is prepared already, and compare it with what was written.

    Raises:
      ConfigError: there is no data set of that name.
      UserError: its data is missing or damaged; says where and what to do.
    """
    _require_known("data", data.name, REGISTRY)
    if cities is None:
        cities = _cities_needed(data)
    return REGISTRY[data.name](data, rendered_city, cities, verify)


def load_images(
    images: ImageDataConfig, rendered_city: RenderedCityConfig | None = None, *, verify: bool = False
) -> LabelledImages:
    """Reads the labelled images of a config, preparing what is not prepared yet.

    Args:
      images: of the config.
      rendered_city: of the config; only read where the photos are rendered. None: the extent of the schema.
      verify: read all that is prepared already, and compare it with what was written.

    Raises:
      ConfigError: there is no data set of that name.
      UserError: its data is missing or damaged, or cannot be divided as asked; says where and what to do.
    """
    _require_known("images", images.name, LABELLED_IMAGES)
    return LABELLED_IMAGES[images.name](images, rendered_city or RenderedCityConfig(), verify)


def open_photos(name: str, root: str) -> "PhotoSource":
    """The raw data of a data set of labelled images.

    Raises:
      ConfigError: there is no data set of that name.
      UserError: its data is not at the root, or only in part.
    """
    _require_known("images", name, LABELLED_IMAGES)
    if name == "rendered_city":
        raise ConfigError("rendered_city has no raw data to look at: it is drawn when it is prepared.")
    if name == "grocery":
        from vigor_jax.datasets.grocery.photos import GroceryPhotos

        return GroceryPhotos(root)
    if name == "imagenet":
        from vigor_jax.datasets.imagenet.photos import ImageNetPhotos

        return ImageNetPhotos(root)
    if name == "photo_positions":
        from vigor_jax.datasets.photo_positions.photos import PositionedPhotos

        return PositionedPhotos(root)
    from vigor_jax.datasets.image_folders.photos import TreePhotos

    return TreePhotos(root)


def _cities_needed(data: DataConfig) -> tuple[str, ...]:
    """The cities that the protocols read, the training cities first."""
    test = data.test_cities if "cross_area" in data.protocols else ()
    return tuple(dict.fromkeys((*data.train_cities, *test)))


def _require_known(group: str, name: str, registry: Collection[str]) -> None:
    if name not in registry:
        raise ConfigError(f"config.{group}.name = {name!r}. Allowed: {', '.join(sorted(registry))}.")
