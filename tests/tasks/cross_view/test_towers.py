"""Towers that cannot be are refused before any data is read, naming the key."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax import datasets, tasks
from vigor_jax.config import Config, ConfigError
from vigor_jax.models import registry
from vigor_jax.models.pretrained import own_names
from vigor_jax.models.pretrained.conversion import variable_shapes
from vigor_jax.models.pretrained.weight_file_error import WeightFileError
from vigor_jax.tasks.cross_view import towers as towers_of_task
from vigor_jax.tasks.cross_view.config import ModelConfig
from vigor_jax.tasks.cross_view.towers import check_towers, read_weights
from vigor_jax.tasks.distillation import cross_view_teacher
from vigor_jax.workdir import provenance

_VALID = {
    "name": "test",
    "task": "cross_view",
    "epochs": 1,
    "data": {
        "name": "rendered_city",
        "train_cities": ("A",),
        "protocols": ("same_area",),
        "ground_size": (64, 128),
    },
    "batch": {"size": 4},
}


def _config(*, micro_batch_size: int = 0, aerial_size: tuple[int, int] = (64, 64), **model: object) -> Config:
    changes = {
        "model": {"aggregation": "safa", **model},
        "data": {**_VALID["data"], "aerial_size": aerial_size},
        "micro_batch_size": micro_batch_size,
    }
    return tasks.parse({**_VALID, **changes})


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"backbone": "resnet5"}, ["config.model.backbone = 'resnet5'", "Did you mean resnet50"]),
        ({"backbone": "mobilenet_1.0", "width": 0.5}, ["config.model.width = 0.5", "mobilenet_1.0", "only VGG"]),
        (
            {"backbone": "resnet50", "stride": 2},
            ["config.model.stride = 2", "resnet50 has maps of strides 4, 8, 16, 32"],
        ),
        ({"backbone": "vgg16", "norm_momentum": 0.9}, ["config.model.norm_momentum = 0.9", "vgg16 has no batch"]),
        (
            {"backbone": "mobilenet_1.0", "micro_batch_size": 2},
            ["config.micro_batch_size = 2", "config.model.backbone = 'mobilenet_1.0'", "another model"],
        ),
        ({"backbone": "vit_small_14"}, ["config.data.aerial_size = (64, 64)", "multiples of 14 pixels", "(70, 70)"]),
        (
            {"backbone": "mobilenet_1.0", "stride": 32, "aerial_size": (32, 32)},
            ["config.data.aerial_size = (32, 32)", "map of stride 32 leaves one position", "config.model.stride"],
        ),
    ],
)
def test_what_does_not_go_together_names_its_keys(changes, parts, monkeypatch):
    monkeypatch.setattr(datasets, "load", None)  # not reached
    config = _config(**changes)
    with pytest.raises(ConfigError) as error:
        tasks.create(config)
    for part in parts:
        assert part in str(error.value)


def test_images_of_one_position_serve_every_other_aggregation():
    for aggregation in ("gem", "average", "fully_connected"):
        check_towers(_config(backbone="resnet50", aggregation=aggregation, aerial_size=(32, 32)))


@pytest.fixture
def weight_file(one_convolution, monkeypatch, tmp_path):
    """The path of weights of "one_convolution" that ask for other pixels than it does by itself."""
    variables = one_convolution().init(jax.random.key(5), jnp.zeros((1, 32, 32, 3)))
    np.savez(tmp_path / "weights.npz", **own_names.to_own_names(variables))
    load = towers_of_task.load

    def asks(*arguments):
        return load(*arguments)._replace(preprocessing="keras")

    monkeypatch.setattr(towers_of_task, "load", asks)
    return tmp_path / "weights.npz"


def test_a_weight_file_is_needed_by_a_fresh_state_alone(weight_file, town_config, leave_run, tmp_path):
    """Which other pixels than the registry's it asks for is known to a later start, and to a student of the run."""
    model = {"model.backbone": "one_convolution", "model.width": 1.0, "model.pretrained": str(weight_file)}
    config = town_config(**model)
    first = tasks.create(config)
    assert first.resolved == {"preprocessing": "keras"}
    variables = jax.device_get(first.init(jax.random.key(3)))
    leave_run(tmp_path / "run", config, variables, first.resolved)

    weight_file.unlink()
    later = tasks.create(config, provenance.resolved(tmp_path / "run"))
    assert (later.resolved, later._towers.model) == (first.resolved, first._towers.model)
    shapes = jax.eval_shape(later.init, jax.random.key(3))
    assert jax.tree.map(lambda leaf: leaf.shape, shapes) == jax.tree.map(lambda leaf: leaf.shape, variables)
    student = {"task": "cross_view_distillation", "distillation.teacher": str(tmp_path / "run")}
    assert cross_view_teacher.read(town_config(**student)).model.preprocessing == "keras"
    with pytest.raises(WeightFileError, match=r"weights\.npz"):
        later.init(jax.random.key(3))
    with pytest.raises(WeightFileError, match=r"weights\.npz"):  # of a run from before this was stored
        tasks.create(config)


def test_weights_come_with_their_preprocessing(tmp_path):
    backbone = registry.backbone("mobilenet_0.25")
    rng = np.random.default_rng(0)
    shapes = variable_shapes(backbone, (1, 32, 32, 3))
    variables = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    flat = {"/".join(key.key for key in path): leaf for path, leaf in jax.tree.leaves_with_path(variables)}
    np.savez(tmp_path / "mobilenet.npz", **flat)
    model = ModelConfig(aggregation="safa", backbone="mobilenet_0.25", pretrained=str(tmp_path / "mobilenet.npz"))
    loaded, preprocessing = read_weights(model)
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)
    assert preprocessing == "tf"
    assert read_weights(dataclasses.replace(model, pretrained="")) == (None, "tf")
    with pytest.raises(WeightFileError, match=r"mobilenet\.npz"):
        read_weights(dataclasses.replace(model, backbone="resnet50"))
