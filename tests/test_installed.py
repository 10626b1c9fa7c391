"""What `pip install .` gives, from another folder: every command, the recipes and the templates of the pages."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vigor_jax.commands.command_line import COMMANDS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The unpacked wheel; what it depends on is that of these tests."""
    pytest.importorskip("setuptools", minversion="77", reason="there is nothing to build the wheel with")
    folder = tmp_path_factory.mktemp("wheel")
    # Building leaves files beside the sources.
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("vigor_jax", "configs"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignored)
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", build, folder],
        capture_output=True,
        text=True,
        cwd=folder / "source",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def python(installed, tmp_path_factory):
    """`(*arguments) -> finished process` of Python with the wheel, in an empty folder."""
    folder = tmp_path_factory.mktemp("elsewhere")
    environment = os.environ | {"PYTHONPATH": str(installed), "XDG_CACHE_HOME": str(folder / "cache")}

    def run(*arguments):
        command = [sys.executable, *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=120)

    return run


def test_the_wheel_has_the_command_and_no_more_than_the_package(installed):
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "vigor-jax = vigor_jax.commands.command_line:main" in entry_points.read_text()
    assert {path.name for path in installed.iterdir()} == {"vigor_jax", entry_points.parent.name}
    recipes = {path.name for path in (installed / "vigor_jax/recipes").iterdir()}
    assert recipes == {path.name for path in (ROOT / "configs").glob("*.py")}
    missing = [
        path
        for path in (ROOT / "vigor_jax").rglob("*")
        if path.is_file() and path.suffix != ".pyc" and not (installed / path.relative_to(ROOT)).is_file()
    ]
    assert not missing


def test_every_command_works_from_another_folder(installed, python):
    script = f"""
from vigor_jax.commands import command_line

for name in {list(COMMANDS)}:
    assert command_line.main([name, "--help"]) == 0
# A recipe by its name, which reads others; it is known to be good when its data is missed.
assert command_line.main(["prepare", "--config=configs/cross_area.py:safa", "--config.data.root=nowhere"]) == 2
assert command_line.main(["cost", "mobilenet_0.25", "--image=32"]) == 0

from pathlib import Path

from vigor_jax.report import page
from vigor_jax.workdir.results import Results

config = {{"name": "a run", "task": "a task", "seed": 0, "epochs": 1}}
summary = {{"config": config, "steps": 1, "metrics": {{"test/top1": 0.5}}, "throughput": {{}}, "versions": {{}}}}
run = Results(Path("run"), summary, [])
Path("page.html").write_text(page.render(run, page.Content()))
print(page.__file__)
"""
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    assert "taking vigor_jax's own" in done.stderr
    assert "nowhere" in done.stderr
    assert "convolution" in done.stdout
    assert done.stdout.rstrip().endswith(str(installed / "vigor_jax/report/page.py"))


def test_a_recipe_trains_from_another_folder(python):
    """As far as it goes without data: the config is read, and the devices are asked whether they can share a batch."""
    done = python("-m", "vigor_jax", "train", "--config=configs/demo.py", "--config.batch.size=13")
    assert (done.returncode, done.stdout) == (2, "")
    assert "config.batch.size = 13 cannot be divided among" in done.stderr
