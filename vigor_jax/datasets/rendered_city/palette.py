"""Colours travel as one packed integer through the shading and become three channels once, at the end."""

from typing import Any

import jax.numpy as jnp


def pack(red: Any, green: Any, blue: Any) -> Any:
    """Three floats in [0, 1] to one uint32."""

    def byte(x: Any) -> Any:
        return jnp.round(jnp.clip(x, 0, 1) * 255).astype(jnp.uint32)

    return byte(red) << 16 | byte(green) << 8 | byte(blue)


def unpack(code: Any) -> tuple[Any, Any, Any]:
    """One uint32 to three floats in [0, 1]."""
    return tuple(((code >> shift) & 255).astype(jnp.float32) * jnp.float32(1 / 255) for shift in (16, 8, 0))


def hsl(hue: Any, saturation: Any, lightness: Any) -> Any:
    """Hue (turns), saturation and lightness to a packed colour."""
    reach = saturation * jnp.minimum(lightness, 1 - lightness)

    def channel(n: float) -> Any:
        k = (n + hue * 12) % 12
        return lightness - reach * jnp.clip(jnp.minimum(k - 3, 9 - k), -1, 1)

    return pack(channel(0.0), channel(8.0), channel(4.0))


def code(rgb: tuple[Any, Any, Any], light: Any = 1.0) -> Any:
    """A style's colour, times a brightness, as a packed colour."""
    return pack(rgb[0] * light, rgb[1] * light, rgb[2] * light)


def one_of(colours: tuple[int, ...], choice: tuple[Any, ...], draw: Any) -> Any:
    """The colour that `draw` in [0, 1) picks among a city's choice (float indices) of a list of colours."""
    chosen = jnp.asarray(colours, jnp.uint32)[jnp.stack(choice).astype(jnp.int32)]
    return chosen[jnp.floor(draw * len(choice)).astype(jnp.int32)]


WHITE = 0xE6E6E0
YELLOW = 0xE0B030
BIKE = (0x3F8F5C, 0xA8503C, 0x3F6FA8)
COURT = (0x3A6EA5, 0x4C8A60, 0xA85A46, 0x75628E, 0xB98C50, 0x45888A)
PLAZA = (0xB08A78, 0xA8A49A, 0x8E9CA6, 0xC2A878, 0x9A7F8C, 0x86977C)
CARS = (
    0xE8E8E8,
    0xB4B8BC,
    0x2A2C30,
    0x6E7278,
    0x24406E,
    0x94242A,
    0xD8D4C8,
    0x2E5A46,
    0xF0F0F0,
    0x3C3E44,
    0xC06A2A,
    0x5A8AB8,
)
GLASS = 0x27323E
