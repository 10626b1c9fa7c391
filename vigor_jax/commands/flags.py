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
    own = [argument for argument in arguments if not re.match(r"--(no)?config\.", argument)]
    unknown = unknown_option(own, ["--config", *options, "--flagfile", "--undefok"])
    if unknown:
        raise UsageError(f"{unknown}\n\n{usage}")
    if not any(re.match(r"--?config(=|$)", argument) for argument in arguments):
        raise UsageError(f"--config is missing.\n\n{usage}")
    overrides = _overrides(arguments)
    argv = ["", *arguments]  # absl expects the program's name first
    config = config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=argv)
    parser = values["config"].parser = _ConfigFileParser(overrides)
    _read(values, argv, overrides, usage)
    return ReadConfig(tasks.parse(config.value), parser.file, frozenset(overrides))


def define_processes(values: flags.FlagValues) -> Callable[[], Processes]:
    """Defines the flags about the processes of a run; returns what to call for their values once they are read."""
    mode = flags.DEFINE_enum(
        "distributed", "auto", ["auto", "on", "off"], "look for other processes?", flag_values=values
    )
    address = flags.DEFINE_string("coordinator_address", None, "HOST:PORT of process 0", flag_values=values)
    count = flags.DEFINE_integer("num_processes", None, "of the run", flag_values=values)
    index = flags.DEFINE_integer("process_id", None, "of this process", flag_values=values)
    return lambda: Processes(mode.value, address.value, count.value, index.value)


def _overrides(arguments: Sequence[str]) -> list[str]:
    """The config keys that are given, each of which some config has."""
    found = (re.match(r"--?(?:no)?config\.([\w.]+)", argument) for argument in arguments)
    keys = [match[1] for match in found if match]
    for key in keys:
        tasks.check_key(key)
    return keys


def _read(values: flags.FlagValues, argv: Sequence[str], overrides: Sequence[str], usage: str) -> None:
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


class _ConfigFileParser(flags.ArgumentParser):
    """Has a config file read and adds the defaults of the keys that it leaves out, so that each can be a flag."""

    def __init__(self, overrides: Sequence[str]):
        self._overrides = overrides

    def parse(self, given: str) -> ml_collections.ConfigDict:
        self.file = config_file.read(given)
        config = self.file.config
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
