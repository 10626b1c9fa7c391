"""Config files: the user's own and the recipes, from any folder, and what each finds by `configs.NAME`."""

import os
import sys
from pathlib import Path

import pytest

from vigor_jax.commands import config_file
from vigor_jax.errors import UserError

ROOT = Path(__file__).parents[2]
OWN = """\
import ml_collections

def get_config(variant=""):
    return ml_collections.ConfigDict({"name": "own", "variant": variant})
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder with nothing in it, where the command is given; later tests find `configs` as ever."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "configs"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "configs"]:
        del sys.modules[name]


def write(path, text=OWN):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_recipe_is_found_from_any_folder():
    found = config_file.read("configs/cross_area.py:safa")
    assert found.config.name == "cross_area-safa"
    assert found.variant == "safa"
    assert Path(found.module.__file__) == ROOT / "configs/cross_area.py"


def test_a_file_of_ones_own_comes_before_the_recipe_of_its_name(elsewhere):
    write(elsewhere / "configs/demo.py")
    assert config_file.read("configs/demo.py").config.name == "own"
    assert config_file.read(str(ROOT / "configs/demo.py")).config.name == "demo"


def test_a_file_of_ones_own_builds_on_recipes_and_on_those_beside_it(elsewhere):
    own = "from configs import same_area\nfrom configs.base import NAME\n\n"
    own += "def get_config():\n    config = same_area.get_config('safa')\n    config.name = NAME\n    return config\n"
    write(elsewhere / "project/configs/own.py", own)
    write(elsewhere / "project/configs/base.py", "NAME = 'beside'\n")
    for path in ("project/configs/own.py", str(elsewhere / "project/configs/own.py")):
        assert config_file.read(path).config.name == "beside"
    # Of a file in another folder it is the `configs` of the working directory.
    write(elsewhere / "configs/base.py", "NAME = 'here'\n")
    assert config_file.read(str(write(elsewhere / "elsewhere/own.py", own))).config.name == "here"
    # And a recipe builds on recipes, whatever lies here.
    write(elsewhere / "configs/same_area.py", "broken")
    assert config_file.read(str(ROOT / "configs/cross_area.py")).config.name == "cross_area"


def test_the_variant_is_what_follows_the_colon(elsewhere):
    write(elsewhere / "own.py")
    assert config_file.read("own.py:a,b:c").config.variant == "a,b:c"
    assert config_file.read("own.py").config.variant == ""
    write(elsewhere / "plain.py", OWN.replace('variant=""', "").replace(', "variant": variant', ""))
    assert config_file.read("plain.py").config.name == "own"


def test_a_missing_file_is_named_with_the_recipes_there_are(elsewhere):
    with pytest.raises(UserError) as error:
        config_file.read("configs/deom.py:hybrid")
    assert f"--config=configs/deom.py:hybrid: there is no file {elsewhere / 'configs/deom.py'}." in str(error.value)
    assert "configs/cross_area.py, configs/demo.py, " in str(error.value)
    with pytest.raises(UserError, match=r"there is no file .*nowhere/demo\.py"):
        config_file.read("nowhere/demo.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def get_config(\n", r"'\(' was never closed \(own\.py, line 1\)"),
        ("import ml_collection\n", r"No module named 'ml_collection' \(own\.py, line 1\)"),
        ("NAME = 1\n", r"the file has no function get_config"),
        ("def get_config():\n    return {}\n", r"get_config returned dict"),
        (OWN.replace("return", "raise TypeError('no') #"), r"no \(own\.py, line 4\)"),
        (OWN.replace("variant})", "variant}).modle"), r"modle.* \(own\.py, line 4\)"),
        (
            "from configs import demo\nget_config = lambda: demo.get_config('fast')\n",
            r"fast.*configs.same_area\.py, line \d+\)",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(elsewhere, text, said):
    write(elsewhere / "own.py", text)
    with pytest.raises(UserError, match=rf"--config=own\.py: .*{said}"):
        config_file.read("own.py")


def test_nothing_is_added_to_the_path(elsewhere):
    before = list(sys.path)
    config_file.read("configs/demo.py")
    assert sys.path == before
    assert os.getcwd() not in sys.path
