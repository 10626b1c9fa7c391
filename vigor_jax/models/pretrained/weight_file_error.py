"""What is wrong with a weight file, said to the person who gave it."""

import importlib
from types import ModuleType

from vigor_jax.errors import UserError


class WeightFileError(UserError):
    """A weight file that is not what its name says; the message names the file and the arrays."""


def require_package(name: str, path: str, install: str) -> ModuleType:
    """Imports what reading `path` needs, or says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise WeightFileError(f"{path}: reading it needs {name.split('.')[0]}. Install it: {install}") from error
