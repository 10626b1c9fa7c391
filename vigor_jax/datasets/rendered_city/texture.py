"""A small tileable noise image that gives grass, asphalt, leaves and clouds their grain."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from vigor_jax.datasets.rendered_city.place import take

_SIDE = 256


def noise_texture() -> np.ndarray:
    """[65536] float32, a 256 x 256 periodic field of mean 0 and deviation 1 with as much contrast in each octave."""
    rng = np.random.default_rng(20_200_613)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_SIDE) * _SIDE, np.fft.fftfreq(_SIDE) * _SIDE))
    amplitude = np.where(frequency > 0, 1.0 / np.maximum(frequency, 2.0), 0.0)
    spectrum = amplitude * np.exp(2j * np.pi * rng.random((_SIDE, _SIDE)))
    field = np.fft.ifft2(spectrum).real
    return (field / field.std()).astype(np.float32).reshape(-1)


def noise(texture: Any, x: Any, y: Any) -> Any:
    """The nearest texel; x and y in texels, of any sign."""
    column = jnp.floor(x).astype(jnp.int32) & (_SIDE - 1)
    row = jnp.floor(y).astype(jnp.int32) & (_SIDE - 1)
    return take(texture, column * _SIDE + row)


def smooth_noise(texture: Any, x: Any, y: Any) -> Any:
    """Bilinear between texels."""
    x, y = x - 0.5, y - 0.5
    fx, fy = x - jnp.floor(x), y - jnp.floor(y)
    low = noise(texture, x, y) * (1 - fy) + noise(texture, x, y + 1) * fy
    high = noise(texture, x + 1, y) * (1 - fy) + noise(texture, x + 1, y + 1) * fy
    return low * (1 - fx) + high * fx
