"""Renders and stores the embedded data: cities that need no download."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from vigor_jax import geometry
from vigor_jax.config import DataConfig, RenderedCityConfig
from vigor_jax.datasets import cross_view_builder, image_codec
from vigor_jax.datasets.city_table import CityTable
from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.datasets.cross_view_builder import CityConfig, CrossViewBuilder, View
from vigor_jax.datasets.rendered_city import render_panoramas, render_tiles
from vigor_jax.datasets.rendered_city.city import City, make_city
from vigor_jax.datasets.rendered_city.layout import lay_out

_BYTES_A_CALL = 16 << 20  # of pixels: enough images for the renderer's batches, few enough for a lively progress bar


@dataclasses.dataclass(kw_only=True)
class RenderedConfig(CityConfig):
    """One rendered city and its extent."""

    seed: int
    tiles_per_side: int


class Builder(CrossViewBuilder):
    """One rendered city."""

    builder_config: RenderedConfig

    @functools.cached_property
    def city(self) -> City:
        """The world that is rendered."""
        return make_city(self.builder_config.city, self.builder_config.seed)

    def make_table(self) -> CityTable:
        """Where the layout put tiles and panoramas, with names in VIGOR's manner."""
        layout = lay_out(self.city, self.builder_config.tiles_per_side)
        tiles = zip(layout.tile_lat, layout.tile_lon, strict=True)
        panoramas = zip(layout.panorama_lat, layout.panorama_lon, strict=True)
        city = self.builder_config.city
        return CityTable(
            tile_names=tuple(f"satellite_{float(lat)!r}_{float(lon)!r}.png" for lat, lon in tiles),
            tile_lat=layout.tile_lat,
            tile_lon=layout.tile_lon,
            panorama_names=tuple(f"{city}-{k},{lat:.6f},{lon:.6f},.jpg" for k, (lat, lon) in enumerate(panoramas)),
            panorama_lat=layout.panorama_lat,
            panorama_lon=layout.panorama_lon,
            references=layout.references.astype(np.int32),
            offset_px=geometry.tile_offset(
                layout.panorama_lat[:, None],
                layout.panorama_lon[:, None],
                layout.tile_lat[layout.references],
                layout.tile_lon[layout.references],
            ),
            same_area_test=layout.same_area_test,
        )

    def pictures(self, view: View, table: CityTable) -> Iterator[Callable[[], image_codec.Image]]:
        """Renders at the size that is stored."""
        config = self.builder_config
        if view == "aerial":
            images = render_many(
                lambda lat, lon: render_tiles(self.city, lat, lon, max(config.aerial_size)),
                table.tile_lat,
                table.tile_lon,
                3 * max(config.aerial_size) ** 2,
            )
        else:
            images = render_many(
                lambda lat, lon: render_panoramas(self.city, lat, lon, config.ground_size),
                table.panorama_lat,
                table.panorama_lon,
                3 * config.ground_size[0] * config.ground_size[1],
            )
        return (functools.partial(_itself, image) for image in images)


def load(
    data: DataConfig,
    rendered_city: RenderedCityConfig,
    cities: Sequence[str] | None = None,
    *,
    verify: bool = False,
) -> CrossViewData:
    """Reads some rendered cities of a config, or those that train, having rendered those that are not yet.

    See `cross_view_builder.load`.
    """
    builders = []
    for city in data.train_cities if cities is None else cities:
        trains = city in data.train_cities
        tiles_per_side = rendered_city.train_tiles_per_side if trains else rendered_city.test_tiles_per_side
        sizes = cross_view_builder.size_name(data)
        name = f"{city}-{sizes}-{tiles_per_side}tiles-seed{rendered_city.seed}-{renderer_version()}"
        config = RenderedConfig(
            name=name,
            city=city,
            aerial_size=data.aerial_size,
            ground_size=data.ground_size,
            seed=rendered_city.seed,
            tiles_per_side=tiles_per_side,
        )
        builders.append(Builder(data_dir=data.data_dir, config=config))
    return cross_view_builder.load(builders, "rendered_city", verify=verify)


def render_many(
    render: Callable[[np.ndarray, np.ndarray], np.ndarray], lat: np.ndarray, lon: np.ndarray, bytes_an_image: int
) -> Iterator[np.ndarray]:
    """Yields the images at positions one by one, rendered in calls of as many as fit into 16 MiB."""
    step = max(1, _BYTES_A_CALL // bytes_an_image)
    for start in range(0, len(lat), step):
        yield from render(lat[start : start + step], lon[start : start + step])


@functools.cache
def renderer_version() -> str:
    """Eight digits that change with the renderer's code, so that no image outlives the code that drew it."""
    sha = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name != Path(__file__).name:
            sha.update(path.name.encode() + path.read_bytes())
    return sha.hexdigest()[:8]


def _itself(image: np.ndarray) -> np.ndarray:
    return image
