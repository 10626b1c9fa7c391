"""Finds a config file and runs it: one of the user's own, or a recipe that comes with vigor_jax.

The recipes lie in `configs/` of a checkout, and are installed as `vigor_jax/recipes`. They import each other as
`configs.NAME`, and so does whoever builds on them: `from configs.same_area import get_config`.
"""

import dataclasses
import importlib
import importlib.machinery
import sys
import traceback
import types
from collections.abc import Sequence
from pathlib import Path

import ml_collections
from absl import logging

import vigor_jax
from vigor_jax.errors import UserError

_PACKAGE = "configs"


@dataclasses.dataclass(frozen=True)
class ConfigFile:
    """A config file that was run.

    Attributes:
      given: as on the command line, FILE[:VARIANT].
      variant: empty if none is given.
      module: what the file defines.
      config: what its `get_config` returns.
    """

    given: str
    variant: str
    module: types.ModuleType
    config: ml_collections.ConfigDict


def recipes() -> Path:
    """The folder of the recipes."""
    package = Path(vigor_jax.__file__).parent
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parent / _PACKAGE


def read(given: str) -> ConfigFile:
    """Runs a config file.

    Args:
      given: FILE[:VARIANT]; a FILE `configs/NAME.py` that does not exist is the recipe of that name.

    Raises:
      UserError: there is neither, or the file cannot be run; says where in it.
    """
    path, colon, variant = given.partition(":")
    file = _find(given, path)
    folders = _let_import(file)
    loader = importlib.machinery.SourceFileLoader("config_file", str(file))
    module = types.ModuleType(loader.name)
    module.__file__ = loader.path
    try:
        loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise UserError(f"--config={given}: the file has no function get_config.")
        # Not every file's function takes a variant.
        config = module.get_config(*([variant] if colon else []))
    except (TypeError, ValueError, AttributeError, ImportError, SyntaxError) as error:
        raise UserError(f"--config={given}: {error} ({_line_of(error, loader.path, folders)})") from error
    if not isinstance(config, ml_collections.ConfigDict):
        raise UserError(f"--config={given}: get_config returned {type(config).__name__}, no ml_collections.ConfigDict.")
    return ConfigFile(given, variant, module, config)


def _find(given: str, path: str) -> Path:
    file, recipe = Path(path), recipes() / Path(path).name
    if file.is_file():
        return file
    absent = f"--config={given}: there is no file {file.absolute()}"
    if file.parent == Path(_PACKAGE) and recipe.is_file():
        logging.info("There is no file %s here: taking vigor_jax's own, %s", path, recipe)
        return recipe
    names = ", ".join(f"{_PACKAGE}/{each.name}" for each in sorted(recipes().glob("[!_]*.py")))
    raise UserError(f"{absent}. Give the path of one, or a recipe of vigor_jax: {names}.")


def _let_import(file: Path) -> list[Path]:
    """Has `configs.NAME` mean the files beside `file`, then those of the working directory, then the recipes.

    Returns:
      The folders in this order.
    """
    beside = file.absolute().parent
    folders = [beside] if beside.name == _PACKAGE else []
    folders = list(dict.fromkeys([*folders, Path.cwd() / _PACKAGE, recipes()]))
    package = types.ModuleType(_PACKAGE)
    package.__path__ = [str(folder) for folder in folders]
    for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]:
        del sys.modules[name]  # of another file's folders
    sys.modules[_PACKAGE] = package
    importlib.invalidate_caches()  # a folder may be new
    return folders


def _line_of(error: BaseException, file: str, folders: Sequence[Path]) -> str:
    """The line of the config file, or of those that it imports, at which an error came about."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename == file or Path(frame.filename).parent in folders]
    line = (ours or frames)[-1]
    return f"{line.filename}, line {line.lineno}"
