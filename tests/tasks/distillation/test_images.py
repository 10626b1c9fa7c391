"""A student learns on images, without a label, what its teacher's logits are made of; the teacher stays as it is."""

import dataclasses
import functools
import json
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from vigor_jax import datasets, tasks
from vigor_jax.config import ConfigError
from vigor_jax.datasets.image_codec import decode, encode_png
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.errors import UserError
from vigor_jax.input import image_crops
from vigor_jax.models import registry
from vigor_jax.models.classifier import classifier
from vigor_jax.models.mobilenet import MobileNetHead
from vigor_jax.models.pretrained import WeightFileError, own_names
from vigor_jax.parallel import mesh as meshes
from vigor_jax.tasks.distillation import image_teacher
from vigor_jax.tasks.distillation.images import ImageDistillation
from vigor_jax.train import loop
from vigor_jax.train import state as states
from vigor_jax.train import step as steps

OPTIMIZER = optax.sgd(1.0)  # shows the gradient itself
QUICK = {"xla_backend_optimization_level": 0}


class _Small(nn.Module):
    """A backbone that compiles in little time."""

    channels: int
    momentum: float = 0.9
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images, *, train: bool = False):
        features = nn.Conv(self.channels, (4, 4), strides=4, use_bias=False)(images)
        norm = nn.BatchNorm(use_running_average=not train, momentum=self.momentum, axis_name=self.axis_name)
        return (nn.relu(norm(features)),)


_BACKBONES = {
    name: registry.BackboneEntry(functools.partial(_Small, channels), MobileNetHead, 32, "tf", 0.0)
    for name, channels in (("tiny", 6), ("wide", 20))
}


@pytest.fixture(autouse=True, scope="module")
def small_backbones():
    with pytest.MonkeyPatch.context() as patch:
        for name, entry in _BACKBONES.items():
            patch.setitem(registry.BACKBONES, name, entry)
        yield


@pytest.fixture(scope="module")
def data() -> LabelledImages:
    """Noise of different sizes and colours; 24 train, 9 and 7 are held out. The labels are there to be left unread."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(36, 60, (40, 2)).astype(np.int32)
    images = [
        encode_png((rng.integers(0, 256, 3) + rng.normal(0, 40, (*size, 3))).clip(0, 255).astype(np.uint8))
        for size in sizes
    ]
    rows = np.arange(40)
    return LabelledImages(
        name="noise",
        names=[f"{row}.png" for row in rows],
        labels=np.zeros(40, np.int32),
        class_names=("a", "b"),
        images=images,
        sizes=sizes,
        train=rows[:24],
        validation=rows[24:33],
        test=rows[33:],
        fingerprint="noise",
    )


def tree_of(**changes):
    tree = {
        "name": "noise",
        "task": "image_distillation",
        "epochs": 2,
        "images": {"name": "image_folders", "crop": 32, "scales": (32, 40), "colour_shift": 0.1},
        "classifier": {"backbone": "tiny", "norm_momentum": 0.8, "dtype": "float32", "test_scales": (36,)},
        "distillation": {"teacher": ""},
        "optimizer": {"learning_rate": 3e-3},
        "batch": {"size": 8},
        "eval_batch_size": 4,
        "log_every_steps": 1,
        "input_threads": 2,
    }
    for path, value in changes.items():
        *groups, key = path.split(".")
        node = tree
        for group in groups:
            node = node[group]
        node[key] = value
    return tree


@pytest.fixture(scope="module")
def taught():
    """The teacher's model, and variables as if it had been trained."""
    model = classifier("wide", 5, dropout=0.0, norm_momentum=0.01)
    # Statistics of some images, by which a fresh network tells images apart.
    images = np.random.default_rng(1).normal(size=(16, 32, 32, 3)).astype(np.float32)
    fresh = jax.jit(lambda key: model.init(key, images))(jax.random.key(1))
    _, seen = jax.jit(lambda fresh: model.apply(fresh, images, train=True, mutable=["batch_stats"]))(fresh)
    return model, jax.device_get({"params": fresh["params"], **seen})


@pytest.fixture(scope="module")
def teacher(taught, tmp_path_factory, leave_run):
    """The workdir of a run of 'classification' that ended with these variables."""
    workdir = tmp_path_factory.mktemp("teacher")
    tree = tree_of(**{"task": "classification", "classifier.backbone": "wide"})
    del tree["distillation"]
    leave_run(workdir, tasks.parse(tree), taught[1])
    return workdir


def task_of(data, teacher, **changes):
    return ImageDistillation(tasks.parse(tree_of(**{"distillation.teacher": str(teacher)} | changes)), data)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def neighbours(rows):
    found = []
    for i, row in enumerate(rows):
        found.append(max((j for j in range(len(rows)) if j != i), key=lambda j, row=row: row @ rows[j]))
    return np.array(found)


def embeddings_by_hand(taught, pixels):
    model, variables = taught
    return unit(np.asarray(model.apply(variables, pixels / 127.5 - 1, method="features")))


def test_a_teacher_sees_the_pixels_that_it_was_trained_with(taught, leave_run, teacher, tmp_path):
    tree = tree_of(
        **{"task": "classification", "classifier.backbone": "wide", "classifier.preprocessing": "imagenet_mean"}
    )
    del tree["distillation"]
    leave_run(tmp_path, tasks.parse(tree), taught[1])
    read = [
        image_teacher.read(tasks.parse(tree_of(**{"distillation.teacher": str(workdir)}))).preprocessing
        for workdir in (teacher, tmp_path)
    ]
    assert read == [registry.BACKBONES["wide"].preprocessing, "imagenet_mean"]


def test_the_step_reads_all_that_is_put_on_the_devices(data, teacher, batch_keys):
    yielded, read = batch_keys(task_of(data, teacher))
    assert yielded == read == {"image", "colour_shift"}


def test_a_step_is_the_distance_from_the_teacher_and_leaves_it_as_it_is(data, teacher, taught):
    task = task_of(data, teacher)
    before = jax.device_get(states.create(task, OPTIMIZER, 0, meshes.data_mesh(jax.devices()[:1])))
    batches = task.batches(0)
    batch = next(batches)
    batches.close()
    pixels = batch["image"] + batch["colour_shift"][:, None, None]
    targets = embeddings_by_hand(taught, pixels)
    assert targets.shape == (8, 20)
    student = classifier("tiny", 20, dropout=0.0, norm_momentum=0.8)
    variables = {"batch_stats": before.model_state["batch_stats"]}

    def plain(params):
        found, model_state = student.apply(
            variables | {"params": params}, pixels / 127.5 - 1, train=True, mutable=["batch_stats"]
        )
        found = found / jnp.linalg.norm(found, axis=1, keepdims=True)
        return sum(jnp.sum((found[i] - targets[i]) ** 2) for i in range(8)) / 8, model_state

    plain = jax.jit(jax.value_and_grad(plain, has_aux=True), compiler_options=QUICK)
    (loss, model_state), gradient = plain(before.params)
    mesh = meshes.data_mesh(jax.devices()[:4])
    state = jax.device_put(before, meshes.replicated(mesh))
    rows = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    step = steps.make(task, OPTIMIZER, lambda step: 1.0, 0, mesh).lower(state, rows).compile(QUICK)
    state, metrics, _, _ = step(state, rows)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    taken = jax.tree.map(lambda old, new: old - np.asarray(new), before.params, state.params)
    jax.tree.map(lambda a, b: np.testing.assert_array_less(abs(a - b), 1e-4 * abs(b).max() + 5e-6), taken, gradient)
    stays = state.model_state["teacher"]
    assert "logits" not in stays["params"]
    kept = {name: taught[1]["params"][name] for name in stays["params"]}
    jax.tree.map(np.testing.assert_array_equal, stays, {"params": kept, "batch_stats": taught[1]["batch_stats"]})
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        state.model_state["batch_stats"],
        model_state["batch_stats"],
    )


@pytest.mark.parametrize("devices", [1, 3])
def test_figures_are_those_of_loops_over_the_held_out_images(data, teacher, taught, devices):
    task = task_of(data, teacher)
    rng = np.random.default_rng(2)
    variables = jax.tree.map(
        lambda leaf: rng.uniform(0.1, 0.6, leaf.shape).astype(np.float32), jax.eval_shape(task.init, jax.random.key(0))
    )
    variables["teacher"] = task._teacher.variables
    metrics = task.evaluate(variables, meshes.data_mesh(jax.devices()[:devices])).metrics
    student = classifier("tiny", 20, dropout=0.0)
    apply = jax.jit(student.apply)
    own = {name: variables[name] for name in ("params", "batch_stats")}
    for split, rows in data.splits.items():
        crops = [
            image_crops.centre(image_crops.scale_to(decode(data.images[row], "x"), 36), (32, 32))[None] for row in rows
        ]
        theirs = np.concatenate([embeddings_by_hand(taught, crop) for crop in crops])
        ours = unit(np.concatenate([apply(own, crop / np.float32(127.5) - 1) for crop in crops]))
        distance = np.mean([np.sum((s - t) ** 2) for s, t in zip(ours, theirs, strict=True)])
        np.testing.assert_allclose(metrics[f"{split}/distance"], distance, rtol=1e-4)
        np.testing.assert_allclose(metrics[f"{split}/cosine"], 1 - distance / 2, atol=1e-4)
        mean = unit(theirs.mean(axis=0))
        constant = np.mean([np.sum((mean - t) ** 2) for t in theirs])
        np.testing.assert_allclose(metrics[f"{split}/constant_distance"], constant, rtol=1e-4)
        assert metrics[f"{split}/images"] == len(rows)
        assert metrics[f"{split}/chance_agreement"] == 1 / (len(rows) - 1)
        assert 0 <= metrics[f"{split}/pixel_agreement"] <= 1
        assert metrics[f"{split}/agreement"] == np.mean(neighbours(ours) == neighbours(theirs))
    assert task.table(metrics)["test"]["images"] == "7"
    earlier = {name: value for name, value in metrics.items() if not name.startswith("test/")}
    assert list(task.table(earlier)) == ["validation"]  # of a start that measured a split fewer


def test_labels_are_not_read_and_a_run_ends_nearer_to_its_teacher(data, teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "data_mesh", lambda: meshes.data_mesh(jax.devices()[:1]))
    found = []
    for labels in (data.labels, 1 - data.labels):
        relabelled = dataclasses.replace(data, labels=labels.astype(np.int32))
        config = tasks.parse(tree_of(**{"distillation.teacher": str(teacher), "epochs": 4}))
        monkeypatch.setattr(loop.tasks, "create", lambda config, resolved, of=relabelled: ImageDistillation(config, of))
        found.append(loop.train_and_evaluate(config, tmp_path / str(labels[0]))["metrics"])
    assert found[0] == found[1]
    rows = [json.loads(line) for line in (tmp_path / "0" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses[-1] < losses[0]
    page = (tmp_path / "0" / "report.html").read_text()
    assert 'id="epochs-distance-figure"' in page
    rows = re.findall(r'<tr><th scope="row">Agreement</th>(.*)</tr>', page)
    shares = [found[0][f"test/{name}agreement"] for name in ("", "chance_", "pixel_")]
    assert [float(each) for each in re.findall(r"<td>([\d.]+)", rows[0])] == pytest.approx(
        np.multiply(100, shares), abs=0.05
    )


def test_the_registry_makes_the_task_of_the_images_that_the_config_names(data, teacher, monkeypatch):
    monkeypatch.setattr(datasets, "load_images", lambda images, city, **_: {"image_folders": data}[images.name])
    config = tasks.parse(tree_of(**{"distillation.teacher": str(teacher)}))
    task = tasks.create(config)
    assert isinstance(task, ImageDistillation)
    assert task.fingerprint == task_of(data, teacher).fingerprint


def test_a_weight_file_of_a_backbone_teaches(data, tmp_path):
    save_file = pytest.importorskip("safetensors.numpy", reason="the extra `pretrained` is not installed").save_file
    path = tmp_path / "teacher.safetensors"
    model = classifier("mobilenet_0.25", 7)
    shapes = jax.eval_shape(lambda key: model.init(key, jnp.zeros((1, 32, 32, 3))), jax.random.key(0))
    rng = np.random.default_rng(3)
    variables = jax.tree.map(lambda leaf: rng.uniform(0.1, 0.6, leaf.shape).astype(np.float32), shapes)
    save_file(own_names.to_own_names(variables), path)
    task = task_of(data, path, **{"distillation.teacher_backbone": "mobilenet_0.25"})
    assert task._teacher.dim == 256
    jax.tree.map(
        np.testing.assert_array_equal, task._teacher.variables["params"]["backbone"], variables["params"]["backbone"]
    )
    assert "logits" not in task._teacher.variables["params"]
    with pytest.raises(WeightFileError, match="holds nothing of this model"):
        task_of(data, path, **{"distillation.teacher_backbone": "mobilenet_0.5"})


def test_what_cannot_teach_is_named(data, teacher, tmp_path):
    task = task_of(data, teacher)
    task.restore_plan(task.plan_state())
    with pytest.raises(UserError, match="A teacher cannot be exchanged midway"):
        task.restore_plan({"teacher": task.plan_state()["teacher"] ^ np.uint8(1)})
    with pytest.raises(ConfigError, match=r"config\.images\.crop = 34: the teacher .* on crops of 32 pixels"):
        task_of(data, teacher, **{"images.crop": 34, "images.scales": (34, 40)})
    with pytest.raises(ConfigError, match=r"test_scales = .*a single scale"):
        task_of(data, teacher, **{"classifier.test_scales": (36, 40)})
    with pytest.raises(ConfigError, match=r"test_protocol = 'multi_crop': .*the centre crop alone"):
        task_of(data, teacher, **{"classifier.test_protocol": "multi_crop"})
