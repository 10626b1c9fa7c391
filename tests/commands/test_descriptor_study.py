"""The descriptor study, from its command: a small sweep, collected again, and what it refuses before it trains."""

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vigor_jax import tasks
from vigor_jax.commands import descriptor_study
from vigor_jax.config import ConfigError
from vigor_jax.errors import UserError
from vigor_jax.studies import descriptor_sweep
from vigor_jax.studies.descriptor_sweep import Row, Study, dimension, of_size

ROOT = Path(__file__).parents[2]
CONFIG = """\
import ml_collections

def get_config(variant=""):
    assert variant == "small"
    return ml_collections.ConfigDict({
        "name": "study",
        "task": "cross_view",
        "epochs": 1,
        "data": {
            "name": "vigor",
            "data_dir": "prepared",
            "train_cities": ("Seattle",),
            "protocols": ("same_area",),
            "aerial_size": (32, 32),
            "ground_size": (32, 64),
            "validation_fraction": 0.1,
        },
        "model": {
            "aggregation": "safa",
            "backbone": "vgg11",
            "width": 0.0625,
            "centre_descriptor": True,
            "final_pool": False,
            "aggregation_std": 0.5,
            "offset_head": "regression",
            "dtype": "float32",
        },
        "loss": {"offset_weight": 0.01},
        "optimizer": {"learning_rate": 1e-3},
        "batch": {"size": 8},
        "input_threads": 2,
    })

def sizes(variant):
    assert variant == "small"
    return ("2x8", "2x32")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_mini_vigor):
    """The config of a study and its data: a city of 400 tiles, more than 256 of which train."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.py").write_text(CONFIG)
    cities = ("Seattle",)
    write_mini_vigor(folder / "VIGOR", cities=cities, rows=20, columns=20, panoramas=220, trains=180, noise=40)
    return folder


@pytest.fixture(scope="module")
def run(folder):
    """`(*flags) -> finished process` of the command, beside the config."""
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "PYTHONPATH": str(ROOT),
    }

    def finish(*flags):
        command = [sys.executable, "-m", "vigor_jax", "descriptor-study", *flags]
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=300)

    return finish


@pytest.fixture(scope="module")
def sweep(folder, run):
    """The finished command and the study it wrote."""
    pytest.importorskip("sklearn", reason="the extra `study` is not installed")
    pytest.importorskip("faiss", reason="the extra `study` is not installed")
    done = run("--config=study.py:small", f"--config.data.root={folder / 'VIGOR'}", "--workdir=runs/study")
    assert done.returncode == 0, done.stderr
    return done, json.loads((folder / "runs/study/descriptor_study.json").read_text())


@pytest.mark.long
def test_every_size_is_trained_and_the_largest_compressed(folder, sweep):
    done, study = sweep
    assert study["compressed"] == "2x32"
    assert study["fit_tiles"] >= 256
    assert study["fit_panoramas"] > 100
    assert study["left_out"] == []
    found = {row["descriptor"]: (row["dimension"], row["bytes"]) for row in study["rows"]}
    assert found == {
        "trained 2x32": (64, 256),
        "trained 2x8": (16, 64),
        "PCA 64": (64, 256),
        "PCA 16": (16, 64),
        "int8": (64, 64),
        "PQ 8": (64, 8),
        "PQ 4": (64, 4),
        "PQ 2": (64, 2),
        "PQ 1": (64, 1),
    }
    for row in study["rows"]:
        for split in ("validation", "same_area"):
            for metric in ("top1", "top5", "hit_rate", "median_m", "centre_median_m"):
                assert row["metrics"][f"{split}/{metric}"] >= 0
    for size, projected in (("2x8", 8), ("2x32", 0)):
        summary = json.loads((folder / "runs/study" / size / "summary.json").read_text())
        (row,) = (row for row in study["rows"] if row["descriptor"] == f"trained {size}")
        assert row["metrics"] == summary["metrics"]
        assert summary["config"]["name"] == f"study-{size}"
        assert (summary["config"]["model"]["num_heads"], summary["config"]["model"]["channels_per_head"]) == (
            2,
            projected,
        )
    written = (folder / "runs/study/descriptor_study.md").read_text()
    assert done.stdout.endswith(f"{written}")
    assert sum(line.startswith("| same_area ") for line in written.splitlines()) == 9
    assert "| validation" not in written
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_the_compressed_descriptors_and_the_offset_head_are_those_of_the_trained_checkpoint(sweep):
    """Rounding to a byte leaves the distances as they are, down to a query or two that finds another tile."""
    rows = {row["descriptor"]: row["metrics"] for row in sweep[1]["rows"]}
    own, int8, other = (rows[name]["same_area/mean_m"] for name in ("trained 2x32", "int8", "trained 2x8"))
    assert int8 == pytest.approx(own, rel=0.02)
    assert other != pytest.approx(own, rel=0.1)


@pytest.mark.long
def test_the_same_command_again_trains_nothing_and_says_the_same(folder, run, sweep):
    first, study = sweep
    metrics = {path: path.read_bytes() for path in (folder / "runs/study").glob("*/metrics.jsonl")}
    assert len(metrics) == 2
    again = run("--config=study.py:small", f"--config.data.root={folder / 'VIGOR'}", "--workdir=runs/study")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("This run is complete") == 2
    assert "steps of 8 examples" in first.stderr
    assert "steps of 8 examples" not in again.stderr
    assert {path: path.read_bytes() for path in metrics} == metrics
    assert json.loads((folder / "runs/study/descriptor_study.json").read_text()) == study
    table = first.stdout[first.stdout.index("| split") :]
    assert again.stdout == table


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "error: --config is missing."),
        (["--config=study.py:small", "--config.model.num_heads=4"], "is what the sizes of the study set"),
        (["--config=study.py:small", "--config.model.width=0.05"], "a tower of 26 channels, which the size 2x32"),
        (["--config=study.py:small", "--config.eval_symmetries=True"], "it searches by eight descriptors"),
        ([f"--config={ROOT / 'configs/demo.py'}"], "demo.py has no sweep of sizes"),
        ([f"--config={ROOT / 'configs/descriptor_study.py'}:8x65"], "there is no variant '8x65'"),
    ],
)
def test_mistakes_are_explained_before_anything_is_trained(run, folder, flags, message):
    done = run(*flags, "--workdir=runs/mistake")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (folder / "runs/mistake").exists()


@pytest.fixture
def tree():
    return tasks.parse(
        {
            "name": "study",
            "task": "cross_view",
            "epochs": 1,
            "data": {"name": "vigor", "train_cities": ("Seattle",), "protocols": ("same_area",)},
            "model": {"aggregation": "safa"},
            "batch": {"size": 8},
        }
    )


@pytest.mark.parametrize(("module", "package"), [("sklearn.decomposition", "scikit-learn"), ("faiss", "faiss-cpu")])
def test_a_missing_library_is_found_before_the_training(tree, tmp_path, monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(descriptor_sweep, "train_and_evaluate", lambda *_: pytest.fail("it trained"))
    with pytest.raises(UserError, match=rf"{package}.*pip install -e \.\[study\]"):
        descriptor_sweep.study(tree, ("8x512",), tmp_path)


def test_a_size_takes_all_channels_or_projects_them(tree):
    full, projected, few = (of_size(tree, size) for size in ("8x512", "8x64", "2x512"))
    assert [run.model.channels_per_head for run in (full, projected, few)] == [0, 64, 0]
    assert [dimension(run) for run in (full, projected, few)] == [4096, 512, 1024]
    assert (full.name, few.name) == ("study-8x512", "study-2x512")
    # As main.py names it, so that either command finds the other's run.
    assert of_size(dataclasses.replace(tree, name="study-8x64"), "8x64").name == "study-8x64"
    siamese = dataclasses.replace(tree, model=dataclasses.replace(tree.model, aggregation="fully_connected"))
    with pytest.raises(ConfigError, match="the heads of 'safa'"):
        of_size(siamese, "8x64")


@pytest.mark.parametrize("placed", [True, False])
def test_the_page_has_percent_and_metres_of_every_test_split(placed):
    def metrics(base):
        found = {}
        for place, split in enumerate(("validation", "same_area", "cross_area")):
            found |= {f"{split}/{name}": base + place / 10 for name in ("top1", "top5", "hit_rate", "mean_colour_top1")}
            found[f"{split}/centre_median_m"] = 100 * base + place
            if placed:
                found[f"{split}/median_m"] = 10 * base + place
        return found

    rows = [Row("trained 8x64", 512, 2048, metrics(0.5)), Row("PQ 64", 512, 64, metrics(0.25))]
    lines = descriptor_study.page(Study("8x64", 300, 200, ["Nothing."], rows)).splitlines()
    assert lines[0] == "| split      | descriptor   | dimension | bytes | top-1 | top-5 | hit rate | median m |"
    assert lines[1] == "| ---------- | ------------ | --------: | ----: | ----: | ----: | -------: | -------: |"
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:6]] == [
        ["same_area", "trained 8x64", "512", "2048", "60.0", "60.0", "60.0", "6.0" if placed else "51.0"],
        ["same_area", "PQ 64", "512", "64", "35.0", "35.0", "35.0", "3.5" if placed else "26.0"],
        ["cross_area", "trained 8x64", "512", "2048", "70.0", "70.0", "70.0", "7.0" if placed else "52.0"],
        ["cross_area", "PQ 64", "512", "64", "45.0", "45.0", "45.0", "4.5" if placed else "27.0"],
    ]
    assert ("the centre of the first tile" in lines[7]) != placed
    assert lines[-1] == "Left out: Nothing."


@pytest.mark.parametrize("bases", ["", "cross_area", "rendered", "cross_area,rendered", "demo"])
def test_the_recipe_of_every_size_is_that_of_the_sweep(bases):
    recipe = importlib.import_module("configs.descriptor_study")
    whole = tasks.parse(recipe.get_config(bases))
    sizes = recipe.sizes(bases)
    assert dimension(whole) == (512 if bases == "demo" else 4096)
    assert min(dimension(of_size(whole, size)) for size in sizes) == (64 if bases == "demo" else 128)
    assert whole.model.offset_head == "regression"
    for size in sizes:
        variant = ",".join(filter(None, [bases, size]))
        assert tasks.parse(recipe.get_config(variant)) == of_size(whole, size)
        assert recipe.sizes(variant) == (size,)
    names = {of_size(whole, size).name for size in sizes}
    assert len(names) == len(sizes)


@pytest.mark.parametrize("variant", ["8x8", "demo,8x512", "8x64,8x32", "demo,rendered", "same_area,cross_area", "safa"])
def test_an_unknown_or_contradicting_variant_is_refused(variant):
    with pytest.raises(ValueError, match=r"there is no variant|contradicts itself"):
        importlib.import_module("configs.descriptor_study").get_config(variant)
