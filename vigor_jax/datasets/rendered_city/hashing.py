"""Random numbers as a pure function of integers, so that the world needs no state and no order of evaluation."""

from typing import Any

import jax.numpy as jnp


def mix(x: Any) -> Any:
    """Scrambles uint32 values with the multipliers of the `lowbias32` integer hash (C. Wellons, 2018)."""
    x = x ^ (x >> 16)
    x = x * jnp.uint32(0x7FEB352D)
    x = x ^ (x >> 15)
    x = x * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def fold(key: Any, *values: Any) -> Any:
    """Folds integers into a key: equal integers give an equal uint32, any other change gives an unrelated one."""
    for value in values:
        key = mix(key * jnp.uint32(0x9E3779B1) + jnp.asarray(value).astype(jnp.uint32) + jnp.uint32(0x632BE5AB))
    return key


def unit(h: Any) -> Any:
    """A hash as float32 in [0, 1)."""
    return (h >> 8).astype(jnp.float32) * jnp.float32(2**-24)


def units(h: Any, count: int) -> tuple[Any, ...]:
    """`count` independent floats in [0, 1) from one hash."""
    return tuple(unit(mix(h + jnp.uint32(0x9E3779B9 * (n + 1) & 0xFFFFFFFF))) for n in range(count))


def between(low: Any, high: Any, fraction: Any) -> Any:
    """Linear interpolation from low to high."""
    return low + (high - low) * fraction
