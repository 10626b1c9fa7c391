"""Light of an image: the sun and sky of its city's view, with an exposure and a tint of its own."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from vigor_jax.datasets.rendered_city import palette
from vigor_jax.datasets.rendered_city.extent import AERIAL
from vigor_jax.datasets.rendered_city.hashing import between, fold, unit, units
from vigor_jax.datasets.rendered_city.surface import Surface

_LIGHT, _NOISE = 51, 52
_SKY_LIGHT = (0.54, 0.57, 0.63)
_SUN_LIGHT = (0.56, 0.53, 0.47)


class Light(NamedTuple):
    """One image's light; all scalars."""

    sun: tuple[Any, Any, Any]  # unit vector towards the sun: u, v, up
    direct: tuple[Any, Any, Any]  # of the sun on a level surface, RGB
    diffuse: tuple[Any, Any, Any]  # of the sky, RGB
    saturation: Any  # of the camera


def draw_light(region: Any, view: int, image_key: Any) -> Light:
    """The light of one image of a view."""
    azimuth, elevation = region.style.aerial_sun if view == AERIAL else region.style.ground_sun
    angle = jnp.pi / 2 - azimuth - region.orientation
    sun = (jnp.cos(elevation) * jnp.cos(angle), jnp.cos(elevation) * jnp.sin(angle), jnp.sin(elevation))
    exposure, warmth, tint, contrast, saturation = units(fold(image_key, _LIGHT, view), 5)
    # Panoramas are taken on many days, the tiles of a city on few.
    spread = 0.4 if view == AERIAL else 1.0
    gain = 1.0 + 0.36 * spread * (exposure - 0.5)
    warm = 0.2 * spread * (warmth - 0.5)
    green = 0.09 * spread * (tint - 0.5)
    channels = (gain * (1 + warm), gain * (1 + green), gain * (1 - warm))
    sunny = between(0.55, 1.05, contrast) if view != AERIAL else between(0.92, 1.05, contrast)
    direct = tuple(c * s * sunny for c, s in zip(channels, _SUN_LIGHT, strict=True))
    diffuse = tuple(c * (s + 0.42 * (1.05 - sunny)) for c, s in zip(channels, _SKY_LIGHT, strict=True))
    return Light(sun, direct, diffuse, between(1 - 0.4 * spread, 1 + 0.25 * spread, saturation))


def illuminate(light: Light, surface: Surface, lit: Any) -> tuple[Any, Any, Any]:
    """RGB floats of a surface that gets the share `lit` of the light a level surface gets from the sun."""
    base, paint = palette.unpack(surface.base), palette.unpack(surface.paint)
    colour = [low + (high - low) * surface.cover for low, high in zip(base, paint, strict=True)]
    grey = (colour[0] + colour[1] + colour[2]) * (1 / 3)
    return tuple(
        (grey + (c - grey) * light.saturation) * surface.shade * (diffuse + direct * lit)
        for c, direct, diffuse in zip(colour, light.direct, light.diffuse, strict=True)
    )


def facing(light: Light, normal: tuple[Any, Any, Any]) -> Any:
    """Sunlight on a surface with this unit normal, relative to a level surface."""
    dot = sum(n * s for n, s in zip(normal, light.sun, strict=True))
    return jnp.maximum(dot, 0) / light.sun[2]


def expose(code: Any, samples: int, view: int, image_key: Any) -> Any:
    """Averages samples x samples points a pixel and adds the sensor's noise.

    Packed colours [..., H * samples, W * samples] to uint8 [..., H, W, 3]; `image_key` has the leading axes.
    """
    *batch, height, width = code.shape
    height, width = height // samples, width // samples
    deviation = between(0.008, 0.022, unit(fold(image_key, _NOISE, view)))
    h = fold(image_key[..., None, None], jnp.arange(height * width).reshape(height, width))
    channels = []
    for channel, salt in zip(palette.unpack(code), (1, 0x9E3779B1, 0x85EBCA77), strict=True):
        grain = (unit(h * jnp.uint32(salt)) - 0.5) * (12**0.5 * deviation[..., None, None])
        mean = channel.reshape(*batch, height, samples, width, samples).mean(axis=(-3, -1))
        channels.append(jnp.clip((mean + grain) * 255 + 0.5, 0, 255).astype(jnp.uint8))
    return jnp.stack(channels, axis=-1)
