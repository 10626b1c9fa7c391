"""A tree of values to a `Config`: keys, types and groups checked, then the values."""

import dataclasses
import difflib
import sys
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, Literal

import dacite
import ml_collections

from vigor_jax.config.errors import ConfigError, shown
from vigor_jax.config.schema import GROUPS_OF_CROSS_VIEW, GROUPS_OF_TASKS, Config
from vigor_jax.config.values import check_values

_GREATEST = sys.float_info.max  # infinity is beyond it, and NaN not below


def parse(config: ml_collections.ConfigDict | Mapping[str, Any]) -> Config:
    """Checks a config and freezes it.

    Raises:
      ConfigError: unknown or missing key, wrong type, or a value that cannot work; says which and what is allowed.
    """
    tree = config.to_dict() if isinstance(config, ml_collections.ConfigDict) else dict(config)
    _check_keys(Config, tree, prefix="config")
    _check_groups(tree)
    try:
        parsed = dacite.from_dict(Config, tree, dacite.Config(strict=True, cast=[tuple], type_hooks={float: float}))
    except dacite.DaciteError as error:
        raise ConfigError(f"config: {error}") from error
    check_values(parsed)
    return parsed


def check_key(path: str) -> None:
    """Refuses a dotted key, such as batch.size, that no config has.

    Raises:
      ConfigError: names the closest key and those allowed.
    """
    schema: Any = Config
    prefix = "config"
    for part in path.split("."):
        fields = typing.get_type_hints(schema) if dataclasses.is_dataclass(schema) else {}
        if part not in fields:
            raise _unknown(part, fields, prefix)
        schema, prefix = group_of(fields[part]) or fields[part], f"{prefix}.{part}"


def group_of(hint: Any) -> type | None:
    """The dataclass that a key's type says its group is, optional or not; None of keys that are values."""
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((member for member in members if dataclasses.is_dataclass(member)), None)


def _unknown(key: str, allowed: Collection[str], prefix: str) -> ConfigError:
    close = difflib.get_close_matches(key, list(allowed), n=1)
    hint = f" Did you mean {prefix}.{close[0]}?" if close else ""
    choice = f" Allowed: {', '.join(sorted(allowed))}." if allowed else f" {prefix} is a value, not a group of keys."
    return ConfigError(f"{prefix}.{key} is not a config key.{hint}{choice}")


def _check_keys(cls: type, tree: Mapping[str, Any], prefix: str) -> None:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    for key, value in tree.items():
        if key not in fields:
            raise _unknown(str(key), fields, prefix)
        group = group_of(hints[key])
        if group is not None:
            if value is None and group is not hints[key]:
                continue  # optional
            if not isinstance(value, Mapping):
                raise ConfigError(f"{prefix}.{key} = {shown(value)}: expected a group of keys.")
            _check_keys(group, value, f"{prefix}.{key}")
        else:
            _check_type(hints[key], value, f"{prefix}.{key}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in tree:
            raise ConfigError(f"{prefix}.{name} is missing.")


def _check_groups(tree: Mapping[str, Any]) -> None:
    """Requires the groups that the task reads, and refuses those that only others read."""
    needed = GROUPS_OF_TASKS.get(tree["task"], GROUPS_OF_CROSS_VIEW)
    for name, hint in typing.get_type_hints(Config).items():
        if group_of(hint) in (None, hint):
            continue
        if name in needed and tree.get(name) is None:
            raise ConfigError(f"config.{name} is missing: config.task = {shown(tree['task'])} reads it.")
        if name not in needed and tree.get(name) is not None:
            raise ConfigError(
                f"config.{name} is not read by config.task = {shown(tree['task'])}, which reads "
                f"{' and '.join(f'config.{group}' for group in needed)}. Leave it out."
            )


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
    """A config as plain JSON-able data, for summary.json and the checkpoint's record; absent groups are left out."""
    return {key: value for key, value in dataclasses.asdict(config).items() if value is not None}
