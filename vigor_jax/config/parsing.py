"""A tree of values to a `Config`: keys, types and groups checked, then the values."""

import dataclasses
import difflib
import functools
import sys
import typing
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeVar

import dacite
import ml_collections

from vigor_jax.config.errors import ConfigError, shown
from vigor_jax.config.schema import Config
from vigor_jax.config.values import check_values

_GREATEST = sys.float_info.max  # infinity is beyond it, and NaN not below


Parsed = TypeVar("Parsed", bound=Config)


def parse(config: ml_collections.ConfigDict | Mapping[str, Any], schema: type[Parsed]) -> Parsed:
    """Checks a config against a schema and freezes it; `vigor_jax.tasks.parse` takes the schema of the config's task.

    Raises:
      ConfigError: unknown or missing key, wrong type, or a value that cannot work; says which and what is allowed.
    """
    tree = tree_of(config)
    _check_keys(schema, tree, prefix="config")
    try:
        parsed = dacite.from_dict(schema, tree, dacite.Config(strict=True, cast=[tuple], type_hooks={float: float}))
    except dacite.DaciteError as error:
        raise ConfigError(f"config: {error}") from error
    check_values(parsed)
    return parsed


def tree_of(config: ml_collections.ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """Makes a plain dict of a config, at the top at least."""
    return config.to_dict() if isinstance(config, ml_collections.ConfigDict) else dict(config)


def has_key(schema: type, path: str) -> bool:
    """Says whether a schema has a dotted key, such as batch.size."""
    hint: Any = schema
    for part in path.split("."):
        fields = keys_of(hint)
        if part not in fields:
            return False
        hint = fields[part]
    return True


def check_key(path: str, schemas: Collection[type]) -> None:
    """Refuses a dotted key that none of several schemas has.

    Raises:
      ConfigError: names the closest key and those allowed.
    """
    hints: list[Any] = list(schemas)
    prefix = "config"
    for part in path.split("."):
        fields = [keys_of(hint) for hint in hints]
        if not any(part in each for each in fields):
            raise _unknown(part, dict.fromkeys(key for each in fields for key in each), prefix)
        hints, prefix = [each[part] for each in fields if part in each], f"{prefix}.{part}"


def keys_of(hint: Any) -> dict[str, Any]:
    """The keys of a schema or of a group, with their types; none of what is a value."""
    return {field.name: _hints(hint)[field.name] for field in dataclasses.fields(hint)} if is_group(hint) else {}


def is_group(hint: Any) -> bool:
    """Says whether a key of this type holds a group of keys."""
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


@functools.cache
def _hints(schema: type) -> dict[str, Any]:
    return typing.get_type_hints(schema)


def _unknown(key: str, allowed: Collection[str], prefix: str) -> ConfigError:
    close = difflib.get_close_matches(key, list(allowed), n=1)
    hint = f" Did you mean {prefix}.{close[0]}?" if close else ""
    choice = f" Allowed: {', '.join(sorted(allowed))}." if allowed else f" {prefix} is a value, not a group of keys."
    return ConfigError(f"{prefix}.{key} is not a config key.{hint}{choice}")


def _check_keys(schema: type, tree: Mapping[str, Any], prefix: str) -> None:
    hints = keys_of(schema)
    for key, value in tree.items():
        if key not in hints:
            raise _unknown(str(key), hints, prefix)
        if is_group(hints[key]):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{prefix}.{key} = {shown(value)}: expected a group of keys.")
            _check_keys(hints[key], value, f"{prefix}.{key}")
        else:
            _check_type(hints[key], value, f"{prefix}.{key}")
    for field in dataclasses.fields(schema):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in tree:
            raise ConfigError(f"{prefix}.{field.name} is missing.")


def _check_type(hint: Any, value: Any, key: str) -> None:
    """Refuses what Python would take for such a value and nobody means: True for 1, NaN, "Seattle" for cities."""
    kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind is Literal:
        # By type too: 1 == True, and the unhashable is never among them.
        if not any(type(value) is type(choice) and value == choice for choice in arguments):
            raise ConfigError(f"{key} = {shown(value)}. Allowed: {', '.join(map(repr, arguments))}.")
        return
    if kind is tuple:
        any_length = arguments[-1] is Ellipsis
        if not isinstance(value, tuple | list) or not (any_length or len(value) == len(arguments)):
            many = "any number of values" if any_length else f"{len(arguments)} values"
            raise ConfigError(f"{key} = {shown(value)}: expected {many} in brackets with a comma, such as ('A',).")
        for item, inner in zip(value, [arguments[0]] * len(value) if any_length else arguments, strict=True):
            _check_type(inner, item, key)
        return
    sound = {
        bool: lambda: isinstance(value, bool),
        int: lambda: isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63,
        float: lambda: isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _GREATEST,
        str: lambda: isinstance(value, str) and "\0" not in value,
    }[kind]
    if not sound():
        expected = {bool: "True or False", int: "a whole number", float: "a finite number", str: "text"}[kind]
        raise ConfigError(f"{key} = {shown(value)}: expected {expected} ({kind.__name__}).")


def to_dict(config: Config) -> dict[str, Any]:
    """A config as plain JSON-able data, for summary.json and the checkpoint's record."""
    return dataclasses.asdict(config)
