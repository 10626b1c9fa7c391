"""Data sets by name: `load` prepares what is not prepared yet and reads it as `CrossViewData`."""

from vigor_jax.config import ConfigError, DataConfig, RenderedCityConfig
from vigor_jax.datasets.cross_view import CrossViewData


# Each imports its builder, and with it TFDS, only when it is the one asked for.
def _load_vigor(data: DataConfig, rendered_city: RenderedCityConfig, verify: bool) -> CrossViewData:
    del rendered_city
    from vigor_jax.datasets.vigor import vigor_dataset_builder

    return vigor_dataset_builder.load(data, verify=verify)


def _load_rendered_city(data: DataConfig, rendered_city: RenderedCityConfig, verify: bool) -> CrossViewData:
    from vigor_jax.datasets.rendered_city import rendered_city_dataset_builder

    return rendered_city_dataset_builder.load(data, rendered_city, verify=verify)


REGISTRY = {"vigor": _load_vigor, "rendered_city": _load_rendered_city}


def load(data: DataConfig, rendered_city: RenderedCityConfig, *, verify: bool = False) -> CrossViewData:
    """Reads the cities that a config's protocols need, preparing those that are not prepared yet.

    Args:
      data: of the config.
      rendered_city: of the config.
      verify: read all that is prepared already, and compare it with what was written.

    Raises:
      ConfigError: there is no data set of that name.
      UserError: its data is missing or damaged; says where and what to do.
    """
    if data.name not in REGISTRY:
        raise ConfigError(f"config.data.name = {data.name!r}. Allowed: {', '.join(sorted(REGISTRY))}.")
    return REGISTRY[data.name](data, rendered_city, verify)
