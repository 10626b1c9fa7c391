"""From command-line flags to a checked config and a workdir, with errors that say what to type instead."""

import dataclasses
import re
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from vigor_jax import config as configs
from vigor_jax.config import Config
from vigor_jax.errors import UserError
from vigor_jax.parallel.cluster import Processes

USAGE = """\
usage: python main.py --config=FILE[:VARIANT] [--config.KEY=VALUE ...] [--workdir=DIR]

  python main.py --config=configs/demo.py              no data needed, minutes on a CPU
  python main.py --config=configs/cross_area.py --config.data.root=/path/to/VIGOR
  python main.py --config=configs/cross_area.py:siamese_vgg --config.batch.size=32 --workdir=runs/siamese

Many hosts: the same command on each. TPU pod slices, Slurm and MPI are found (--distributed=off: do not look; =on: do
not train alone). Plain machines are told: --coordinator_address=HOST:PORT --num_processes=N --process_id=I.

The workdir is runs/<config.name> unless given. The same command again goes on where the run stopped; with another
seed, data set or batch size only if told to (--allow_changes). SIGTERM or Ctrl-C once: the step under way is finished
and saved, and the exit code is 75. --profile writes a trace of a few steps to WORKDIR/profile and trains on.
Each config file says at its top what it needs and what to expect; vigor_jax/config/schema.py lists every key."""


class UsageError(UserError):
    """The flags cannot be understood."""


def processes(argv: Sequence[str]) -> tuple[Processes, list[str]]:
    """Takes the flags about the processes of a run out of the command line.

    Args:
      argv: `sys.argv`.

    Returns:
      What they say, and argv without them, for `parse`.

    Raises:
      UsageError: a value that is none of those allowed.
    """
    values = flags.FlagValues()
    options = {"flag_values": values}
    mode = flags.DEFINE_enum("distributed", "auto", ["auto", "on", "off"], "look for other processes?", **options)
    address = flags.DEFINE_string("coordinator_address", None, "HOST:PORT of process 0", **options)
    count = flags.DEFINE_integer("num_processes", None, "of the run", **options)
    index = flags.DEFINE_integer("process_id", None, "of this process", **options)
    try:
        left = values(list(argv), known_only=True)
    except flags.Error as error:
        raise UsageError(str(error)) from error
    return Processes(mode.value, address.value, count.value, index.value), left


def allows_changes(argv: Sequence[str]) -> tuple[bool, list[str]]:
    """Takes --allow_changes out of the command line: whether it is given, and argv without it, for `parse`.

    Raises:
      UsageError: it has a value that is none.
    """
    return _switch(argv, "allow_changes", "go on with other data, seed or batches")


def profiles(argv: Sequence[str]) -> tuple[bool, list[str]]:
    """Takes --profile out of the command line: whether it is given, and argv without it, for `parse`.

    Raises:
      UsageError: it has a value that is none.
    """
    return _switch(argv, "profile", "trace some steps")


def _switch(argv: Sequence[str], name: str, meaning: str) -> tuple[bool, list[str]]:
    values = flags.FlagValues()
    given = flags.DEFINE_bool(name, False, meaning, flag_values=values)
    try:
        left = values(list(argv), known_only=True)
    except flags.Error as error:
        raise UsageError(str(error)) from error
    return given.value, left


def parse(argv: Sequence[str]) -> tuple[Config, Path]:
    """Reads the flags; to be called once a process.

    Args:
      argv: `sys.argv`.

    Returns:
      The checked config and the workdir.

    Raises:
      UserError: an unknown flag or key, a value of the wrong type, no config file there, or one that cannot work.
    """
    if {"-h", "--help"} & set(argv[1:]):
        print(USAGE)
        raise SystemExit(0)
    if not any(re.match(r"--?config(=|$)", argument) for argument in argv[1:]):
        raise UsageError(f"--config is missing.\n\n{USAGE}")
    found = (re.match(r"--?(?:no)?config\.([\w.]+)", argument) for argument in argv[1:])
    overrides = [match[1] for match in found if match]
    for key in overrides:
        configs.check_key(key)
    config_flag = config_flags.DEFINE_config_file("config", None, "config file", lock_config=True)
    flags.FLAGS["config"].parser = _CompletingParser(flags.FLAGS["config"].parser)
    workdir = flags.DEFINE_string("workdir", None, "where the run lies; runs/<config.name> if not given")
    try:
        left = flags.FLAGS(list(argv))
    except flags.IllegalFlagValueError as error:
        raise UsageError(str(error)) from error
    except flags.Error as error:
        raise UsageError(f"{error}\n\n{USAGE}") from error
    except (KeyError, AttributeError) as error:
        # Every key is one of the schema, so it is the group that this config does not have.
        absent = [key for key in overrides if f"'{key.split('.')[0]}'" in str(error)]
        if not absent:
            raise
        raise UsageError(
            f"--config.{absent[0]}: this config has no group {absent[0].split('.')[0]!r}; its task does not read it."
        ) from error
    if left[1:]:
        raise UsageError(f"{left[1]!r} is not a flag.\n\n{USAGE}")
    config = configs.parse(config_flag.value)
    return config, Path(workdir.value or f"runs/{config.name}")


class _CompletingParser(flags.ArgumentParser):
    """Has a config file read and adds the defaults of the keys that it leaves out, so that each can be a flag."""

    def __init__(self, reader: flags.ArgumentParser):
        self._reader = reader

    def parse(self, path: str) -> ml_collections.ConfigDict:
        file = path.split(":", 1)[0]
        if not Path(file).is_file():
            raise UserError(f"--config={path}: there is no file {Path(file).absolute()}.\n\n{USAGE}")
        try:
            config = self._reader.parse(path)
        except (TypeError, ValueError) as error:
            # ml_collections puts the traceback into the message; the file's own error is its context.
            cause = error.__context__ or error
            line = traceback.extract_tb(cause.__traceback__)[-1]
            raise UserError(f"--config={path}: {cause} ({line.filename}, line {line.lineno})") from error
        with config.unlocked():
            _complete(config, Config)
        return config


def _complete(config: ml_collections.ConfigDict, schema: type) -> None:
    for field in dataclasses.fields(schema):
        group_schema = configs.group_of(field.type)
        if group_schema is not None:
            group: Any = config.get(field.name)
            if group is None and dataclasses.is_dataclass(field.default):
                config[field.name] = ml_collections.ConfigDict(dataclasses.asdict(field.default))
            elif isinstance(group, ml_collections.ConfigDict):
                _complete(group, group_schema)
        elif field.name not in config and field.default is not dataclasses.MISSING:
            config[field.name] = field.default
