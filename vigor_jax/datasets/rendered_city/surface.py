"""A point's appearance before light: a base colour, paint that covers part of it, and a brightness."""

from typing import Any, NamedTuple

import jax.numpy as jnp


class Surface(NamedTuple):
    """Appearance of points; colours are packed, see `palette`."""

    base: Any
    paint: Any
    cover: Any  # share of the point's footprint that the paint covers, in [0, 1]
    shade: Any  # brightness factor


def band(distance: Any, half_width: Any, footprint: Any) -> Any:
    """Share of a footprint that a band |distance| < half_width covers: anti-aliasing in closed form."""
    half = 0.5 * footprint
    return (
        jnp.clip(jnp.minimum(distance + half, half_width) - jnp.maximum(distance - half, -half_width), 0, None)
        / footprint
    )


def stripes(x: Any, period: Any, share: Any, footprint: Any) -> Any:
    """Share of a footprint that periodic stripes cover; tends to `share` as the footprint grows."""
    phase = x / period
    phase = (phase - jnp.floor(phase) - 0.5) * period
    sharp = jnp.clip(band(phase, 0.5 * share * period, footprint), 0, 1)
    blur = jnp.clip(footprint / period - 0.5, 0, 1)
    return sharp + (share - sharp) * blur


def over(surface: Surface, covers: Any, above: Surface) -> Surface:
    """Where `covers`, the surface above; elsewhere the one below."""
    return Surface(*(jnp.where(covers, new, old) for new, old in zip(above, surface, strict=True)))


def plain(colour: Any, shade: Any) -> Surface:
    """A surface without paint."""
    return Surface(colour, jnp.zeros_like(colour), jnp.zeros_like(shade), shade)
