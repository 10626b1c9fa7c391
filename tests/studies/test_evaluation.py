"""A run of every task, evaluated again from its workdir: the metrics of its task, and what need not be there."""

import dataclasses
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax import tasks
from vigor_jax.config import ConfigError
from vigor_jax.datasets.image_codec import encode_png
from vigor_jax.errors import UserError
from vigor_jax.models import registry
from vigor_jax.models.mobilenet import MobileNetHead
from vigor_jax.parallel import mesh as meshes
from vigor_jax.studies.evaluation import evaluate
from vigor_jax.workdir import finished_run

TOWNS = {"munich": (48.1, 11.6), "york": (40.7, -74.0), "sydney": (-33.9, 151.2)}


class Tiny(nn.Module):
    """A backbone that compiles in no time."""

    dtype: type = jnp.float32

    @nn.compact
    def __call__(self, images, *, train=False):
        return [nn.relu(nn.Conv(16, (4, 4), strides=4, dtype=self.dtype)(images))]


@pytest.fixture(autouse=True, scope="module")
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.BACKBONES, "tiny", registry.BackboneEntry(Tiny, MobileNetHead, 32, "tf", 0.0))
        yield


@pytest.fixture(scope="module")
def photos_config(tmp_path_factory):
    """`(task, **{"group.key": value}) -> Config` on photos of three towns, in a folder each and by their positions."""
    root = tmp_path_factory.mktemp("photos")
    folder = root / "raw"
    rng = np.random.default_rng(0)
    lines = ["photo,lat,lon,split"]
    for split, count in (("train", 16), ("validation", 4), ("test", 5)):
        for town, (lat, lon) in TOWNS.items():
            for number in range(count):
                name = f"{'val' if split == 'validation' else split}/{town}/{number}.png"
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(256, size=(40, 44, 3))
                (folder / name).write_bytes(encode_png(pixels.astype(np.uint8)))
                lines.append(f"{name},{lat + rng.normal(0, 0.002):.5f},{lon + rng.normal(0, 0.002):.5f},{split}")
    (folder / "positions.csv").write_text("\n".join(lines) + "\n")

    def make(task, **changes):
        name = "photo_positions" if task == "geolocation" else "image_folders"
        images = {"name": name, "root": str(folder), "data_dir": str(root / "prepared"), "stored_side": 0}
        tree = {
            "name": "photos",
            "task": task,
            "epochs": 1,
            "images": images | {"crop": 32, "scales": (36, 40)},
            "classifier": {"backbone": "tiny", "dtype": "float32", "test_scales": (36,)},
            "batch": {"size": 8},
            "eval_batch_size": 4,
            "input_threads": 2,
        }
        if task == "geolocation":
            tree["geocells"] = {"most": 20, "fewest": 3, "deepest": 6}
        for path, value in changes.items():
            group, _, key = path.rpartition(".")
            (tree.setdefault(group, {}) if group else tree)[key] = value
        return tasks.parse(tree)

    return make


@pytest.fixture(scope="module", params=sorted(tasks.REGISTRY))
def run(request, tmp_path_factory, town_config, photos_config, leave_run):
    """A run of each task, and what the task itself finds with the run's variables: metrics and rows of the table."""
    folder = tmp_path_factory.mktemp("runs")
    if request.param == "geolocation":
        pytest.importorskip("s2geometry", reason="s2geometry has no wheels for this platform")
    config = {
        "cross_view": town_config,
        "cross_view_distillation": lambda: town_config(
            **{
                "task": "cross_view_distillation",
                "distillation.teacher": leave(folder / "teacher", town_config(), leave_run),
                "model.width": 0.025,
                "model.centre_descriptor": False,
            }
        ),
        "image_distillation": lambda: photos_config(
            "image_distillation",
            **{"distillation.teacher": leave(folder / "teacher", photos_config("classification"), leave_run)},
        ),
        "classification": lambda: photos_config(
            "classification", **{"classifier.test_protocol": "multi_crop", "classifier.crops_per_side": 2}
        ),
        "geolocation": lambda: photos_config("geolocation"),
    }[request.param]()
    leave(folder / "run", config, leave_run)
    task, mesh = tasks.create(config), meshes.data_mesh(jax.devices()[:2])
    read = finished_run.read(folder / "run", tasks.parse_stored)
    variables = jax.device_put(read.variables, meshes.replicated(mesh))
    metrics = task.evaluate(variables, mesh).metrics | task.evaluate_at_end(variables, mesh)
    return read, mesh, metrics, task.table(metrics)


def leave(workdir, config, leave_run) -> str:
    """Makes the folder what a run leaves that ended where it began."""
    leave_run(workdir, config, jax.device_get(tasks.create(config).init(jax.random.key(7))))
    return str(workdir)


def test_the_metrics_are_those_of_the_task(run):
    read, mesh, metrics, table = run
    found = evaluate(read, read.config, mesh)
    assert found.metrics == metrics
    assert found.table == table
    assert (found.step, found.config) == (3, read.config)


def test_some_splits_alone_give_what_they_give_with_the_others(run):
    read, mesh, metrics, table = run
    split = "cross_area" if "cross_area" in table else "test"
    found = evaluate(read, read.config, mesh, [split])
    assert found.metrics == {name: value for name, value in metrics.items() if name.startswith(f"{split}/")}
    assert found.table == {split: table[split]}
    with pytest.raises(ConfigError, match=rf"no split 'train' to evaluate\. There are: {', '.join(table)}\."):
        evaluate(read, read.config, mesh, ["train"])


def changed(config, **changes):
    for path, value in changes.items():
        group, _, key = path.rpartition(".")
        inner = dataclasses.replace(getattr(config, group) if group else config, **{key: value})
        config = dataclasses.replace(config, **{group: inner}) if group else inner
    return config


@pytest.fixture(scope="module")
def town_run(tmp_path_factory, town_config, leave_run):
    """Of the cross-area protocol."""
    workdir = tmp_path_factory.mktemp("town") / "run"
    leave(workdir, town_config(**{"data.protocols": ("cross_area",)}), leave_run)
    return finished_run.read(workdir, tasks.parse_stored)


MESH = meshes.data_mesh(jax.devices()[:1])


def test_unseen_cities_are_evaluated_without_those_that_trained(town_run, tmp_path):
    """Neither raw nor prepared, on another root."""
    data = town_run.config.data
    expected = evaluate(town_run, town_run.config, MESH, ["cross_area"]).metrics
    shutil.copytree(data.root, tmp_path / "VIGOR", ignore=shutil.ignore_patterns("Seattle"))
    elsewhere = changed(
        town_run.config, **{"data.root": str(tmp_path / "VIGOR"), "data.data_dir": str(tmp_path / "prepared")}
    )
    assert evaluate(town_run, elsewhere, MESH, ["cross_area"]).metrics == expected
    with pytest.raises(UserError, match="there is no city 'Seattle'"):
        evaluate(town_run, elsewhere, MESH)


def test_how_it_is_evaluated_can_be_changed(town_run):
    before = evaluate(town_run, town_run.config, MESH, ["cross_area"]).metrics
    after = evaluate(town_run, changed(town_run.config, seed=5, eval_batch_size=7), MESH, ["cross_area"]).metrics
    assert before["cross_area/assisted_mean_m"] != after["cross_area/assisted_mean_m"]  # of other noise
    assert before["cross_area/top1"] == after["cross_area/top1"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("model.num_heads", 4), ("model.final_pool", True), ("batch.size", 4), ("epochs", 3), ("loss.alpha", 2.0)],
)
def test_the_model_stays_as_it_was_trained(town_run, key, value):
    with pytest.raises(ConfigError, match=rf"config\.{key} = {value}: the run was trained with"):
        evaluate(town_run, changed(town_run.config, **{key: value}), MESH)


def test_images_that_the_layers_are_not_made_for_are_refused(town_run):
    larger = changed(town_run.config, **{"data.aerial_size": (64, 64)})
    with pytest.raises(ConfigError, match="does not take such images"):
        evaluate(town_run, larger, MESH, ["cross_area"])
