"""Data sets by name: `load` prepares what is not prepared yet and reads it as `CrossViewData`."""

from vigor_jax.config import ConfigError, DataConfig, RenderedCityConfig
from vigor_jax.datasets.cross_view import CrossViewData


# Each imports its builder, and with it TFDS, only when it is the one asked for.
def _load_vigor(data: DataConfig, rendered_city: RenderedCityConfig) -> CrossViewData:
    del rendered_city
    from vigor_jax.datasets.vigor import vigor_dataset_builder

    return vigor_dataset_builder.load(data)


def _load_rendered_city(data: DataConfig, rendered_city: RenderedCityConfig) -> CrossViewData:
    from vigor_jax.datasets.rendered_city import rendered_city_dataset_builder

    return rendered_city_dataset_builder.load(data, rendered_city)


REGISTRY = {"vigor": _load_vigor, "rendered_city": _load_rendered_city}


def load(data: DataConfig, rendered_city: RenderedCityConfig) -> CrossViewData:
    """Reads the cities that a config's protocols need, preparing those that are not prepared yet.

    Raises:
      ConfigError: there is no data set of that name.
      UserError: its data is missing or damaged; says where and what to do.
    """
    if data.name not in REGISTRY:
        raise ConfigError(f"config.data.name = {data.name!r}. Allowed: {', '.join(sorted(REGISTRY))}.")
    return REGISTRY[data.name](data, rendered_city)
