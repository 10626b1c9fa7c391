"""The flags of commands that read a config: `--config=FILE[:VARIANT] --config.KEY=VALUE ...`, checked at once."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from vigor_jax import config as configs
from vigor_jax import tasks
from vigor_jax.commands import config_file
from vigor_jax.commands.arguments import UsageError, unknown_option
from vigor_jax.commands.config_file import ConfigFile
from vigor_jax.config import Config
from vigor_jax.parallel.cluster import Processes

_OF_CONFIG = re.compile(r"--?(?:no)?config\.([\w.]+)")


@dataclasses.dataclass(frozen=True)
class ReadConfig:
    """What `--config` and `--config.KEY` say.

    Attributes:
      config: checked.
      file: that it is of.
      overridden: the keys given on the command line, such as "batch.size".
    """

    config: Config
    file: ConfigFile
    overridden: frozenset[str]


def parse(values: flags.FlagValues, arguments: Sequence[str], usage: str) -> ReadConfig:
    """Reads the command line of a command with a config, or prints its help.

    Args:
      values: the command's other flags, which get their values.
      arguments: after the command's name.
      usage: the command's help, shown with what is wrong about its flags.

    Raises:
      SystemExit: the help was asked for.
      UserError: an unknown flag or key, a value of the wrong type, no config file there, or one that cannot work.
    """
    if {"-h", "--help"} & set(arguments):
        print(usage)
        raise SystemExit(0)
    # Before the config file is run, which may take a second.
    options = [option for name in values for option in (f"--{name}", f"--no{name}")]
    unknown = unknown_option(without_config(arguments)[0], ["--config", *options, "--flagfile", "--undefok"])
    if unknown:
        raise UsageError(f"{unknown}\n\n{usage}")
    if not any(re.match(r"--?config(=|$)", argument) for argument in arguments):
        raise UsageError(f"--config is missing.\n\n{usage}")
    files: list[ConfigFile] = []

    def run_file(given: str) -> ml_collections.ConfigDict:
        files.append(config_file.read(given))
        return files[-1].config

    config = _read(values, arguments, run_file, usage)
    return ReadConfig(config, files[-1], frozenset(require_keys(arguments)))


def changed(config: Config, arguments: Sequence[str], usage: str) -> Config:
    """A config with other values of some of its keys.

    Args:
      config: of a run.
      arguments: --config.KEY=VALUE, each.
      usage: the command's help, shown with what is wrong about them.

    Raises:
      UserError: as of `parse`.
    """
    tree = ml_collections.ConfigDict(configs.to_dict(config))
    return _read(flags.FlagValues(), ["--config=of the run", *arguments], lambda _: tree, usage)


def without_config(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """(The arguments that are no --config.KEY, those that are)."""
    of_config = [argument for argument in arguments if _OF_CONFIG.match(argument)]
    return [argument for argument in arguments if not _OF_CONFIG.match(argument)], of_config


def require_keys(arguments: Sequence[str]) -> list[str]:
    """The keys of those arguments that are --config.KEY.

    Raises:
      ConfigError: one that no config has.
    """
    found = (_OF_CONFIG.match(argument) for argument in arguments)
    keys = [match[1] for match in found if match]
    for key in keys:
        tasks.check_key(key)
    return keys


def define_processes(values: flags.FlagValues) -> Callable[[], Processes]:
    """Defines the flags about the processes of a run; returns what to call for their values once they are read."""
    mode = flags.DEFINE_enum(
        "distributed", "auto", ["auto", "on", "off"], "look for other processes?", flag_values=values
    )
    address = flags.DEFINE_string("coordinator_address", None, "HOST:PORT of process 0", flag_values=values)
    count = flags.DEFINE_integer("num_processes", None, "of the run", flag_values=values)
    index = flags.DEFINE_integer("process_id", None, "of this process", flag_values=values)
    return lambda: Processes(mode.value, address.value, count.value, index.value)


def _read(
    values: flags.FlagValues,
    arguments: Sequence[str],
    config_of: Callable[[str], ml_collections.ConfigDict],
    usage: str,
) -> Config:
    """Reads the flags, --config by `config_of`."""
    overrides = require_keys(arguments)
    argv = ["", *arguments]  # absl expects the program's name first
    config = config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=argv)
    values["config"].parser = _ConfigParser(config_of, overrides)
    try:
        left = values(argv)
    except flags.IllegalFlagValueError as error:
        raise UsageError(str(error)) from error
    except flags.Error as error:
        raise UsageError(f"{error}\n\n{usage}") from error
    except (KeyError, AttributeError) as error:
        # Every key is one that the task reads, so it is the group that this config does not have.
        absent = [key for key in overrides if f"'{key.split('.')[0]}'" in str(error)]
        if not absent:
            raise
        raise UsageError(f"--config.{absent[0]}: this config has no group {absent[0].split('.')[0]!r}.") from error
    if left[1:]:
        raise UsageError(f"{left[1]!r} is not a flag.\n\n{usage}")
    return tasks.parse(config.value)


class _ConfigParser(flags.ArgumentParser):
    """Adds the defaults of the keys that a config leaves out, so that each can be a flag."""

    def __init__(self, config_of: Callable[[str], ml_collections.ConfigDict], overrides: Sequence[str]):
        self._config_of, self._overrides = config_of, overrides

    def parse(self, given: str) -> ml_collections.ConfigDict:
        config = self._config_of(given)
        schema = tasks.entry(config.get("task")).config
        for key in self._overrides:
            tasks.require_read(key, config.task)
        with config.unlocked():
            _complete(config, schema)
        return config.lock()


def _complete(config: ml_collections.ConfigDict, schema: type) -> None:
    hints = configs.keys_of(schema)
    for field in dataclasses.fields(schema):
        group_schema = hints[field.name]
        if configs.is_group(group_schema):
            group: Any = config.get(field.name)
            if group is None and dataclasses.is_dataclass(field.default):
                config[field.name] = ml_collections.ConfigDict(dataclasses.asdict(field.default))
            elif isinstance(group, ml_collections.ConfigDict):
                _complete(group, group_schema)
        elif field.name not in config and field.default is not dataclasses.MISSING:
            config[field.name] = field.default
