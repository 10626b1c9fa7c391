"""The arguments of commands that read no config file, with errors that say what to type instead."""

import argparse
import difflib
import itertools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from vigor_jax.errors import UserError


class UsageError(UserError):
    """The command line cannot be understood."""


class Parser(argparse.ArgumentParser):
    """`argparse` that raises a `UsageError` in place of ending the process, and takes no option for another's name."""

    def __init__(self, program: str, description: str | None):
        """Takes the help's text from `description`, the docstring of the command's file, as it stands."""
        super().__init__(
            prog=program,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse_args(self, arguments: Sequence[str]) -> argparse.Namespace:  # type: ignore[override]
        """Reads the arguments.

        Raises:
          UsageError: an unknown option, with the closest there is; one missing; a value that is none.
        """
        # Before anything is said to be missing: it may be what is misspelt.
        unknown = unknown_option(arguments, {name for action in self._actions for name in action.option_strings})
        if unknown:
            self.error(unknown)
        return super().parse_args(arguments)

    def error(self, message: str) -> NoReturn:
        """Raises it, with the usage."""
        raise UsageError(f"{message}\n\n{self.format_usage().rstrip()}")

    def add_json(self, what: str) -> None:
        """Adds `--json=FILE`."""
        self.add_argument("--json", type=writable_file, metavar="FILE", help=f"write {what} there")


def unknown_option(arguments: Sequence[str], options: Collection[str]) -> str | None:
    """What to say of the first argument that begins with two dashes and is none of `options`; None if all are.

    Args:
      arguments: --NAME, --NAME=VALUE or anything else; after a "--" nothing is an option.
      options: with their dashes.
    """
    for argument in itertools.takewhile(lambda argument: argument != "--", arguments):
        name = argument.split("=")[0]
        if name.startswith("--") and name not in options:
            close = difflib.get_close_matches(name, options, n=1)
            return f"there is no option {name}.{f' Did you mean {close[0]}?' if close else ''}"
    return None


def writable_file(text: str) -> Path:
    """The path, refused where no file can be, before the work is done whose result it is to hold."""
    path = Path(text)
    if not path.parent.is_dir() or path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: a file cannot be written there. Name one in a folder that exists.")
    return path


def positive(what: str) -> Any:
    """Reads a whole number from 1; `what` names it in the error."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and int(text)):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of {what}")
        return int(text)

    return read
