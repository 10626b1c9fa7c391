"""The sky of a panorama: a gradient to the horizon's haze, clouds, and a glow around the sun."""

from typing import Any

import jax.numpy as jnp

from vigor_jax.datasets.rendered_city.hashing import between, fold, units
from vigor_jax.datasets.rendered_city.light import Light
from vigor_jax.datasets.rendered_city.texture import smooth_noise

_SKY = 61
_ZENITH = (0.30, 0.48, 0.80)
_CLOUD = (0.93, 0.94, 0.95)


def sky(region: Any, light: Light, image_key: Any, du: Any, dv: Any, slope: Any) -> tuple[Any, Any, Any]:
    """RGB of directions (du, dv, slope), slopes above 0."""
    drift_x, drift_y, amount = units(fold(image_key, _SKY), 3)
    up = slope / jnp.sqrt(1 + slope * slope)
    # Clouds lie on a plane overhead, so that they shrink towards the horizon.
    scale = 14.0 / (slope + 0.25)
    x, y = drift_x * 256 + du * scale, drift_y * 256 + dv * scale
    field = smooth_noise(region.noise, x, y) + 0.45 * smooth_noise(region.noise, 2.7 * x, 2.7 * y)
    cloud = jnp.clip((field + between(-0.9, 0.9, amount)) * 0.6, 0, 1) * jnp.clip(up * 5, 0, 1)
    toward = (du * light.sun[0] + dv * light.sun[1] + slope * light.sun[2]) / jnp.sqrt(1 + slope * slope)
    glow = 0.35 * jnp.clip(toward, 0, 1) ** 24
    clear = jnp.clip(up * 1.6, 0, 1) ** 0.6
    brightness = [d + s for d, s in zip(light.direct, light.diffuse, strict=True)]
    return tuple(
        (haze + (zenith - haze) * clear) * (1 - cloud) * b + white * cloud * b + glow
        for haze, zenith, white, b in zip(region.style.haze, _ZENITH, _CLOUD, brightness, strict=True)
    )
