"""The error of configs, and how a value is shown in it."""

from typing import Any

from vigor_jax.errors import UserError


class ConfigError(UserError):
    """A config value that cannot work; the message names the key, the value and what is allowed."""


def shown(value: Any) -> str:
    """The value as Python writes it, cut where it would fill a screen."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
