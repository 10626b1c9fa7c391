"""VGG's ways of testing a classifier against the network applied by hand, image by image, crop by crop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax import config as configs
from vigor_jax import tasks
from vigor_jax.config import ConfigError
from vigor_jax.datasets.image_codec import decode, encode_png
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.encoding.stopping import EvaluationStopped
from vigor_jax.input import image_crops
from vigor_jax.models import registry
from vigor_jax.models.classifier import classifier
from vigor_jax.models.preprocessing import preprocess
from vigor_jax.models.vgg import VGG, VGGHead
from vigor_jax.parallel import mesh as meshes
from vigor_jax.tasks.classification.measure import ClassMeasure
from vigor_jax.tasks.classification.probabilities import mean_of
from vigor_jax.tasks.classification.task import Classification
from vigor_jax.tasks.classification.testing import ClassifierTesting

SCALES = (32, 64)
SIZES = ((40, 40), (44, 88), (88, 44), (52, 60))
BLOCK = np.ones((4, 4, 1))
FIGURES = ("top1", "top5", "mean_class_top1")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A backbone that compiles in little time."""
    make, head = functools.partial(VGG, "A", width=1 / 16), functools.partial(VGGHead, width=1 / 64)
    entry = registry.BackboneEntry(make, head, 32, "torchvision", dropout=0.5, fully_connected_stride=32)
    monkeypatch.setitem(registry.BACKBONES, "tiny", entry)


@pytest.fixture(scope="module")
def data() -> LabelledImages:
    """Coarse noise of four sizes; 4 images train, 5 validate and 7 test."""
    rng = np.random.default_rng(0)
    sizes = np.asarray([SIZES[row % 4] for row in range(16)], np.int32)
    rows = np.arange(16)
    return LabelledImages(
        name="noise",
        names=[f"{row}.png" for row in rows],
        labels=rng.integers(0, 3, 16).astype(np.int32),
        class_names=("blue", "green", "red"),
        images=[encode_png(np.kron(rng.integers(256, size=(*size // 4, 3)), BLOCK).astype(np.uint8)) for size in sizes],
        sizes=sizes,
        train=rows[:4],
        validation=rows[4:9],
        test=rows[9:],
        fingerprint="noise",
    )


def config_of(protocol: str, backbone: str = "tiny", *, mirror: bool = True, **changes) -> configs.Config:
    return tasks.parse(
        {
            "name": "noise",
            "task": "classification",
            "epochs": 1,
            "images": {"name": "image_folders", "crop": 32, "scales": (32, 40), "mirror": mirror},
            "classifier": {
                "backbone": backbone,
                "dtype": "float32",
                "test_scales": SCALES,
                "test_protocol": protocol,
                **changes,
            },
            "optimizer": {"learning_rate": 1e-3},
            "batch": {"size": 4},
            "eval_batch_size": 4,
            "input_threads": 2,
        }
    )


@pytest.fixture(name="model")
def model_fixture():
    return classifier("tiny", 3, image_size=32)


@pytest.fixture
def variables(model):
    """Under which images get different probabilities."""
    variables = jax.jit(model.init)(jax.random.key(1), jnp.zeros((1, 32, 32, 3)))
    return jax.tree.map(np.asarray, variables)


def views_of(protocol: str, image: np.ndarray, scale: int, per_side: int, mirror: bool) -> list[np.ndarray]:
    """By explicit loops, straight from the paper's description."""
    scaled = image_crops.scale_to(image, scale)
    height, width = scaled.shape[:2]
    if protocol == "dense":
        rows, columns = height // 32 * 32, width // 32 * 32
        top, left = (height - rows) // 2, (width - columns) // 2
        views = [scaled[top : top + rows, left : left + columns]]
    else:
        views = []
        for i in range(per_side):
            for j in range(per_side):
                top, left = round(i * (height - 32) / (per_side - 1)), round(j * (width - 32) / (per_side - 1))
                views.append(scaled[top : top + 32, left : left + 32])
    return [turned for view in views for turned in ((view, view[:, ::-1]) if mirror else (view,))]


def by_loops(apply, variables, data, rows, protocol, per_side=3, mirror=True) -> np.ndarray:
    probabilities = []
    for row in rows:
        image = decode(data.images[row], "x")
        of_image = []
        for scale in SCALES:
            for view in views_of(protocol, image, scale, per_side, mirror):
                logits = np.asarray(apply(variables, preprocess(view[None], "torchvision"))[0], np.float64)
                of_image.append(np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum())
        assert len(of_image) == len(SCALES) * (1 + mirror) * (1 if protocol == "dense" else per_side**2)
        probabilities.append(np.mean(of_image, axis=0))
    return np.stack(probabilities)


def test_every_way_is_the_mean_by_loops_on_any_devices(data, model, variables):
    config = config_of("dense_and_multi_crop", crops_per_side=3)
    apply = jax.jit(model.apply)
    expected = {way: by_loops(apply, variables, data, data.test, way) for way in ("dense", "multi_crop")}
    expected["dense_and_multi_crop"] = (expected["dense"] + expected["multi_crop"]) / 2
    assert np.ptp(expected["dense"], axis=0).max() > 0.02 < abs(expected["dense"] - expected["multi_crop"]).max()
    for devices in (1, 3):
        # Seven images in batches of four, or of six; those of each shape in whole images by themselves.
        testing, mesh = ClassifierTesting(config, model, "torchvision", data), meshes.data_mesh(jax.devices()[:devices])
        found = dict(testing.at_end(variables, data.test, mesh))
        assert tuple(found) == testing.names_at_end == tuple(expected)
        for way, probabilities in found.items():
            np.testing.assert_allclose(probabilities, expected[way], atol=2e-6)


def test_vggs_logits_of_a_whole_image_are_the_mean_of_its_score_map(model, variables):
    images = np.random.default_rng(2).normal(size=(1, 64, 96, 3)).astype(np.float32)
    params, backbone = variables["params"], model.backbone.clone(parent=None)
    last = backbone.apply({"params": params["backbone"]}, images)[-1]
    fc6, fc7, logits = params["head"]["fc6"], params["head"]["fc7"], params["logits"]
    scores = []
    for row in range(2):
        for column in range(3):
            pooled = last[0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].max(axis=(0, 1))
            hidden = jax.nn.relu(pooled @ fc6["kernel"][0, 0] + fc6["bias"])
            hidden = jax.nn.relu(hidden @ fc7["kernel"] + fc7["bias"])
            scores.append(hidden @ logits["kernel"] + logits["bias"])
    np.testing.assert_allclose(model.apply(variables, images)[0], np.mean(scores, axis=0), rtol=1e-4)


def test_the_task_tests_as_asked_at_the_end_alone(data, model, variables):
    task = Classification(config_of("multi_crop", crops_per_side=2, mirror=False), data, ClassMeasure(data))
    mesh = meshes.data_mesh(jax.devices()[:1])
    early, late = task.evaluate(variables, mesh).metrics, task.evaluate_at_end(variables, mesh)
    assert set(late) == {f"{split}/multi_crop_{name}" for split in data.splits for name in FIGURES}
    assert set(late) == task.metrics_at_end
    assert not set(early) & set(late)
    expected = by_loops(jax.jit(model.apply), variables, data, data.validation, "multi_crop", per_side=2, mirror=False)
    assert late["validation/multi_crop_top1"] == np.mean(expected.argmax(axis=1) == data.labels[data.validation])
    found = dict(task._evaluation._testing.at_end(variables, data.validation, mesh))
    np.testing.assert_allclose(found["multi_crop"], expected, atol=2e-6)
    assert task.table(early | late)["test"]["multi_crop@1"] == f"{100 * late['test/multi_crop_top1']:.1f}"
    assert "multi_crop@1" not in task.table(early)["test"]
    with pytest.raises(EvaluationStopped):
        task.evaluate_at_end(variables, mesh, lambda: True)
    plain = Classification(config_of("centre_crop"), data, ClassMeasure(data))
    assert (plain.evaluate_at_end(variables, mesh), plain.metrics_at_end) == ({}, frozenset())


@pytest.mark.parametrize("backbone", ["swin_tiny", "vit_base_16"])
def test_backbones_of_one_size_are_tested_on_crops_alone(data, backbone):
    model = classifier(backbone, 3)
    with pytest.raises(ConfigError, match=f"test_protocol = 'dense': {backbone} is made for images of one size"):
        ClassifierTesting(config_of("dense", backbone), model, "torchvision", data)
    testing = ClassifierTesting(config_of("multi_crop", backbone), model, "torchvision", data)
    assert testing.names_at_end == ("multi_crop",)


def test_the_mean_of_several():
    parts = [np.random.default_rng(i).random((4, 3), np.float32) for i in range(3)]
    np.testing.assert_allclose(mean_of(iter(parts)), (parts[0] + parts[1] + parts[2]) / 3, rtol=1e-6)
