"""A run of a deep VGG starts from the outer layers that a finished run of a shallow one has learnt."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from vigor_jax import tasks
from vigor_jax.config import ConfigError
from vigor_jax.datasets.image_codec import encode_png
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.errors import UserError
from vigor_jax.models import registry
from vigor_jax.models.classifier import classifier
from vigor_jax.models.vgg import NAMES, VGG, VGGHead
from vigor_jax.tasks.classification.measure import ClassMeasure
from vigor_jax.tasks.classification.task import Classification
from vigor_jax.workdir.errors import NoFinishedRun

CLASSES = ("blue", "green", "red")
COPIED = {f"backbone/{name}" for name in ("conv1_1", "conv2_1", "conv3_1", "conv3_2")} | {"head/fc6", "head/fc7"}


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    for name in ("vgg11", "vgg13"):
        entry = registry.BackboneEntry(
            partial(VGG, NAMES[name], 0.05), partial(VGGHead, width=0.05), 32, "torchvision", 0.5, 32
        )
        monkeypatch.setitem(registry.BACKBONES, name, entry)


@pytest.fixture(scope="module")
def data() -> LabelledImages:
    rows = np.arange(12)
    return LabelledImages(
        name="grey",
        names=[f"{row}.png" for row in rows],
        labels=(rows % 3).astype(np.int32),
        class_names=CLASSES,
        images=[encode_png(np.full((32, 32, 3), 20 * row, np.uint8)) for row in rows],
        sizes=np.full((12, 2), 32, np.int32),
        train=rows[:8],
        validation=rows[8:10],
        test=rows[10:],
        fingerprint="grey",
    )


def config_of(**chosen):
    tree = {
        "name": "grey",
        "task": "classification",
        "epochs": 1,
        "images": {"name": "image_folders", "crop": 32, "scales": (32, 32)},
        "classifier": {"backbone": "vgg13", "dtype": "float32", "test_scales": (32,), **chosen},
        "optimizer": {"learning_rate": 1e-3},
        "batch": {"size": 8},
    }
    return tasks.parse(tree)


@pytest.fixture
def finished(tmp_path, leave_run):
    """`(classes=3, **classifier keys) -> (workdir, params)` of a run that has learnt random numbers."""

    def finish(classes=3, **chosen):
        config = config_of(**{"backbone": "vgg11", **chosen})
        model = classifier(config.classifier.backbone, classes, image_size=32)
        shapes = jax.eval_shape(lambda key: model.init(key, jnp.zeros((1, 32, 32, 3))), jax.random.key(0))
        rng = np.random.default_rng(1)
        params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes["params"])
        leave_run(tmp_path, config, {"params": params})
        return tmp_path, params

    return finish


def task_of(data, **chosen):
    return Classification(config_of(**chosen), data, ClassMeasure(data))


def test_a_run_begins_with_what_the_shallow_one_has_learnt(data, finished):
    workdir, learnt = finished()
    begun, fresh = (
        traverse_util.flatten_dict(
            task_of(data, initialisation="normal", shallower=shallower).init(jax.random.key(0))["params"], sep="/"
        )
        for shallower in (str(workdir), "")
    )
    learnt = traverse_util.flatten_dict(learnt, sep="/")
    assert set(begun) == set(fresh)
    for path, array in begun.items():
        copied = path.rsplit("/", 1)[0] in COPIED | {"logits"}
        np.testing.assert_array_equal(array, (learnt if copied else fresh)[path], err_msg=path)
    assert float(jnp.std(fresh["backbone/conv5_1/kernel"])) == pytest.approx(0.01, rel=0.1)


def test_runs_that_cannot_be_started_from_are_refused(data, finished, tmp_path):
    with pytest.raises(NoFinishedRun, match="nowhere holds no run"):
        task_of(data, shallower=str(tmp_path / "nowhere"))
    workdir, _ = finished(classes=4)
    with pytest.raises(UserError, match=r"logits/kernel is \[205, 3\] in the deeper and \[205, 4\]"):
        task_of(data, shallower=str(workdir)).init(jax.random.key(0))


def test_pixels_must_be_those_of_the_shallow_run(data, finished):
    workdir, _ = finished(preprocessing="imagenet_mean")
    task_of(data, shallower=str(workdir), preprocessing="imagenet_mean")
    with pytest.raises(ConfigError, match=r"preprocessing = 'imagenet_mean', this one has ''"):
        task_of(data, shallower=str(workdir))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"backbone": "vgg13"}, r"a run of vgg13\. Name one of vgg11 or vgg11_lrn"),
        ({"pretrained": "a.safetensors"}, r"it started from the weight file 'a\.safetensors'"),
    ],
)
def test_other_networks_are_refused(data, finished, chosen, message):
    workdir, _ = finished(**chosen)
    with pytest.raises(ConfigError, match=message):
        task_of(data, shallower=str(workdir))
