"""Classification of images: its step and its evaluation against the model applied by hand, and a whole run."""

import dataclasses
import functools
import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from vigor_jax import config as configs
from vigor_jax import tasks
from vigor_jax.config import ConfigError
from vigor_jax.datasets.image_codec import decode, encode_png
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.encoding.stopping import EvaluationStopped
from vigor_jax.input import image_crops
from vigor_jax.models import registry
from vigor_jax.models.classifier import classifier
from vigor_jax.models.mobilenet import MobileNet, MobileNetHead
from vigor_jax.models.preprocessing import preprocess
from vigor_jax.models.pretrained import WeightFileError, own_names
from vigor_jax.parallel import mesh as meshes
from vigor_jax.tasks.classification import network
from vigor_jax.tasks.classification.measure import ClassMeasure
from vigor_jax.tasks.classification.task import Classification
from vigor_jax.train import loop
from vigor_jax.train import state as states
from vigor_jax.train import step as steps

OPTIMIZER = optax.sgd(1.0)  # shows the gradient itself
QUICK = {"xla_backend_optimization_level": 0}
CLASSES = ("blue", "green", "red")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A backbone that compiles in little time."""
    make = functools.partial(MobileNet, width=0.25, shallow=True)
    monkeypatch.setitem(registry.BACKBONES, "tiny", registry.BackboneEntry(make, MobileNetHead, 32, "tf", 0.0))


@pytest.fixture(scope="module")
def data() -> LabelledImages:
    """Noise of different sizes, brighter in the channel of its class; 40 train, 11 and 7 are held out."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 58).astype(np.int32)
    sizes = rng.integers(36, 60, (58, 2)).astype(np.int32)
    images = []
    for label, size in zip(labels, sizes, strict=True):
        noise = rng.normal(100, 40, (*size, 3))
        noise[..., 2 - label] += 40
        images.append(encode_png(noise.clip(0, 255).astype(np.uint8)))
    rows = np.arange(58)
    return LabelledImages(
        name="noise",
        names=[f"{row}.png" for row in rows],
        labels=labels,
        class_names=CLASSES,
        images=images,
        sizes=sizes,
        train=rows[:40],
        validation=rows[40:51],
        test=rows[51:],
        fingerprint="noise",
    )


def config_of(**changes) -> configs.Config:
    tree = {
        "name": "noise",
        "task": "classification",
        "epochs": 2,
        "images": {"name": "image_folders", "crop": 32, "scales": (32, 40), "colour_shift": 0.1},
        "classifier": {"backbone": "tiny", "norm_momentum": 0.8, "dtype": "float32", "test_scales": (32, 37)},
        "optimizer": {"learning_rate": 3e-3},
        "batch": {"size": 8},
        "eval_batch_size": 4,
        "log_every_steps": 2,
        "input_threads": 2,
    }
    for path, value in changes.items():
        group, key = path.split(".")
        tree[group][key] = value
    return tasks.parse(tree)


def task_of(data, **changes) -> Classification:
    return Classification(config_of(**changes), data, ClassMeasure(data))


def test_too_little_memory_is_answered_by_the_keys_of_photos(data):
    assert task_of(data).memory_keys == {
        "batch.size": "fewer; another result",
        "images.crop": "smaller; another result",
    }


def test_a_step_on_devices_is_the_step_on_one(data):
    task = task_of(data)
    before = jax.device_get(states.create(task, OPTIMIZER, 0, meshes.data_mesh(jax.devices()[:1])))
    batches = task.batches(0)
    (batch,) = itertools.islice(batches, 1)
    batches.close()
    model = classifier("tiny", 3, dropout=0.0, norm_momentum=0.8)

    def plain(params):
        pixels = batch["image"] + batch["colour_shift"][:, None, None]
        logits, state = model.apply(
            before.variables | {"params": params}, pixels / 127.5 - 1, train=True, mutable=["batch_stats"]
        )
        probabilities = jax.nn.softmax(logits)
        return -jnp.log(probabilities[jnp.arange(8), batch["label"]]).mean(), (logits, state)

    plain = jax.jit(jax.value_and_grad(plain, has_aux=True), compiler_options=QUICK)
    (loss, (logits, model_state)), gradient = plain(before.params)
    for devices in (1, 4):
        mesh = meshes.data_mesh(jax.devices()[:devices])
        state = jax.device_put(before, meshes.replicated(mesh))
        rows = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
        step = steps.make(task, OPTIMIZER, lambda step: 1.0, 0, mesh).lower(state, rows).compile(QUICK)
        state, metrics, _, _ = step(state, rows)
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
        assert metrics["top1"] == np.mean(logits.argmax(axis=1) == batch["label"])
        taken = jax.tree.map(lambda old, new: old - np.asarray(new), before.params, state.params)
        # Rounding of the parameters themselves is in `taken`, and of an array's largest derivatives in its smallest.
        jax.tree.map(lambda a, b: np.testing.assert_array_less(abs(a - b), 5e-5 * abs(b).max() + 5e-6), taken, gradient)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), state.model_state, model_state
        )


def test_the_step_reads_all_that_is_put_on_the_devices(data, batch_keys):
    yielded, read = batch_keys(task_of(data))
    assert yielded == read == {"image", "label", "colour_shift"}


@pytest.mark.parametrize("devices", [1, 3])
def test_probabilities_are_the_mean_over_the_scales(data, devices):
    task = task_of(data)
    # A fresh network normalises by no statistics and finds all images nearly alike.
    shapes = jax.eval_shape(task.init, jax.random.key(1))
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda leaf: rng.uniform(0.1, 0.6, leaf.shape).astype(np.float32), shapes)
    variables["params"]["logits"]["kernel"] = rng.normal(size=shapes["params"]["logits"]["kernel"].shape) / 9
    evaluated = task.evaluate(variables, meshes.data_mesh(jax.devices()[:devices]))
    model = classifier("tiny", 3, dropout=0.0)
    apply = jax.jit(model.apply)
    for split, rows in data.splits.items():
        expected = np.zeros((len(rows), 3))
        for i, row in enumerate(rows):
            for scale in (32, 37):
                scaled = image_crops.scale_to(decode(data.images[row], "x"), scale)
                crop = image_crops.centre(scaled, (32, 32))[None]
                expected[i] += np.asarray(jax.nn.softmax(apply(variables, preprocess(crop, "tf"))[0])) / 2
        order = evaluated.findings[f"{split}/probable"]
        np.testing.assert_allclose(
            evaluated.findings[f"{split}/probability"], np.take_along_axis(expected, order, axis=1), atol=1e-5
        )
        assert (np.sort(order, axis=1) == np.arange(3)).all()
        right = expected.argmax(axis=1) == data.labels[rows]
        assert evaluated.metrics[f"{split}/top1"] == pytest.approx(right.mean())
        by_class = [right[data.labels[rows] == label].mean() for label in np.unique(data.labels[rows])]
        assert evaluated.metrics[f"{split}/mean_class_top1"] == pytest.approx(np.mean(by_class))
        assert evaluated.metrics[f"{split}/images"] == len(rows)
        assert evaluated.metrics[f"{split}/chance_top1"] == pytest.approx(1 / 3)
    assert evaluated.metrics["validation/pixel_neighbour_top1"] > 0.5  # colour is all there is
    assert set(task.table(evaluated.metrics)) == {"validation", "test"}


def test_an_evaluation_ends_when_it_is_asked_to(data):
    task = task_of(data)
    with pytest.raises(EvaluationStopped):
        task.evaluate(task.init(jax.random.key(1)), meshes.data_mesh(jax.devices()[:1]), lambda: True)


def test_a_run_learns_and_leaves_its_report(data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "vigor_jax.tasks.create", lambda config, resolved: Classification(config, data, ClassMeasure(data))
    )
    config = dataclasses.replace(config_of(), epochs=8, evaluate_every_epochs=8)
    summary = loop.train_and_evaluate(config, tmp_path)
    assert summary["metrics"]["test/top1"] >= 0.7 > summary["metrics"]["test/most_frequent_top1"]
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses[-1] < math.log(3) < losses[0] + 0.5
    assert (tmp_path / "report.html").exists()


def test_weights_of_other_classes_keep_their_backbone(data, tmp_path):
    theirs = classifier("tiny", 7)
    stored = jax.jit(theirs.init)(jax.random.key(5), jnp.zeros((1, 32, 32, 3)))
    path = tmp_path / "weights.npz"
    np.savez(path, **own_names.to_own_names(stored))
    variables = task_of(data, **{"classifier.pretrained": str(path)}).init(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, variables["params"]["backbone"], stored["params"]["backbone"])
    jax.tree.map(np.testing.assert_array_equal, variables["batch_stats"], stored["batch_stats"])
    assert variables["params"]["logits"]["kernel"].shape[1] == 3

    del stored["params"]["backbone"]["conv"]
    np.savez(path, **own_names.to_own_names(stored))
    with pytest.raises(WeightFileError, match="Only the logits may be of other classes"):
        task_of(data, **{"classifier.pretrained": str(path)})


def test_a_weight_file_is_needed_by_a_fresh_state_alone(data, one_convolution, tmp_path, monkeypatch):
    """Which other pixels than the registry's it asks for is known to a later start."""
    path = tmp_path / "weights.npz"
    stored = jax.jit(classifier("one_convolution", 7).init)(jax.random.key(5), jnp.zeros((1, 32, 32, 3)))
    np.savez(path, **own_names.to_own_names(stored))
    changes = {"backbone": "one_convolution", "pretrained": str(path), "norm_momentum": 0.0}
    config = config_of(**{f"classifier.{key}": value for key, value in changes.items()})
    load = network.load

    def asks(*arguments, **named):
        return load(*arguments, **named)._replace(preprocessing="torchvision")

    monkeypatch.setattr(network, "load", asks)
    first = Classification(config, data, ClassMeasure(data))
    assert first.resolved == {"preprocessing": "torchvision"}

    kept = path.rename(tmp_path / "elsewhere.npz")
    later = Classification(config, data, ClassMeasure(data), first.resolved)
    assert (later._preprocessing, later.resolved) == ("torchvision", first.resolved)
    expected, found = (jax.eval_shape(task.init, jax.random.key(0)) for task in (first, later))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), found) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), expected
    )
    with pytest.raises(ConfigError, match=r"weights\.npz"):
        later.init(jax.random.key(0))
    with pytest.raises(ConfigError, match=r"weights\.npz"):  # of a run from before this was stored
        Classification(config, data, ClassMeasure(data))
    kept.rename(path)
    jax.tree.map(np.testing.assert_array_equal, later.init(jax.random.key(0)), first.init(jax.random.key(0)))


def test_a_dead_network_is_named(data):
    task = task_of(data)
    assert task.diagnose({"loss": 1.09, "logit_spread": 0.3}) is None
    assert task.diagnose({"loss": 0.2, "logit_spread": 0.0}) is None
    assert "All images have the same logits" in task.diagnose({"loss": 1.0986, "logit_spread": 0.0})
