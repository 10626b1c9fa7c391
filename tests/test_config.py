"""A config that cannot work fails at once, naming the key and what is allowed."""

import copy
import dataclasses
import subprocess
import sys

import pytest

from vigor_jax import config as config_schema
from vigor_jax import tasks
from vigor_jax.config import Config, ConfigError

_VALID = {
    "name": "test",
    "task": "cross_view",
    "epochs": 1,
    "data": {"name": "rendered_city", "train_cities": ("A",), "test_cities": ("B",), "protocols": ("cross_area",)},
    "model": {"aggregation": "safa"},
    "batch": {"size": 4},
}


_IMAGES = {
    "name": "test",
    "task": "classification",
    "epochs": 1,
    "images": {"name": "grocery"},
    "classifier": {"backbone": "vgg11"},
    "batch": {"size": 1},
}


def _with(path: str, value: object, valid: dict = _VALID) -> dict:
    tree = copy.deepcopy(valid)
    node = tree
    *groups, key = path.split(".")
    for group in groups:
        node = node.setdefault(group, {})
    node[key] = value
    return tree


def test_a_valid_tree_becomes_a_frozen_config_with_defaults():
    parsed = tasks.parse(_VALID)
    assert isinstance(parsed, Config)
    assert parsed.loss.alpha == 10.0
    assert parsed.data.aerial_size == (320, 320)
    with pytest.raises(dataclasses.FrozenInstanceError):
        parsed.epochs = 2


def test_lists_become_tuples():
    assert tasks.parse(_with("data.train_cities", ["A", "C"])).data.train_cities == ("A", "C")


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        ("batch.siez", 3, ["config.batch.siez", "Did you mean config.batch.size?"]),
        ("model.aggregation", "max", ["config.model.aggregation", "'max'", "'safa'", "'gem'"]),
        ("data.protocols", ("same",), ["config.data.protocols", "'same_area'"]),
        ("data.test_cities", ("A",), ["config.data.test_cities", "unseen"]),
        ("data.test_cities", (), ["config.data.test_cities", "unseen city"]),
        ("batch.size", 1, ["config.batch.size", "negative"]),
        ("batch.size", "many", ["batch.size", "int"]),
        ("data.validation_fraction", -0.1, ["config.data.validation_fraction", "at least 0"]),
        ("data.aerial_size", (16, 16), ["config.data.aerial_size", "32"]),
        ("data.aerial_size", (32, 32), ["config.data.aerial_size", "more than one position", "final_pool=False"]),
        ("epochs", 0, ["config.epochs", "0"]),
        ("data.same_area_cities", ("A",), ["config.data.same_area_cities", "same_area protocol"]),
        ("data.same_area_cities", ("C",), ["config.data.same_area_cities", "'C'", "train_cities"]),
        ("micro_batch_size", -1, ["config.micro_batch_size", "0 for all at once"]),
        ("seed", -1, ["config.seed", "-1"]),
        ("stall_seconds", -1.0, ["config.stall_seconds", "0 for never"]),
        ("stall_seconds", float("inf"), ["config.stall_seconds = inf"]),
        ("seed", 2**32, ["config.seed", "2**32 - 1"]),
        ("model", 3, ["config.model", "group"]),
        ("epochs", True, ["config.epochs", "True", "whole number"]),
        ("mining.enabled", 1, ["config.mining.enabled", "1", "True or False"]),
        ("data.train_cities", "Seattle", ["config.data.train_cities", "'Seattle'", "brackets"]),
        ("data.train_cities", {"A"}, ["config.data.train_cities", "brackets"]),
        ("data.train_cities", None, ["config.data.train_cities", "None", "brackets"]),
        ("data.train_cities", (1,), ["config.data.train_cities", "text"]),
        ("data.train_cities", ("A", "A"), ["config.data.train_cities", "twice"]),
        ("data.train_cities", ("../A",), ["config.data.train_cities", "like one folder"]),
        ("data.test_cities", ("/etc",), ["config.data.test_cities", "like one folder"]),
        ("data.aerial_size", 320, ["config.data.aerial_size", "2 values"]),
        ("data.aerial_size", (320,), ["config.data.aerial_size", "2 values"]),
        ("data.aerial_size", (10**6, 10**6), ["config.data.aerial_size", "8192"]),
        ("data.root", "a\0b", ["config.data.root", "text"]),
        ("name", "../elsewhere", ["config.name", "runs/"]),
        ("name", "/elsewhere", ["config.name", "runs/"]),
        ("loss.alpha", float("inf"), ["config.loss.alpha", "inf", "finite"]),
        ("optimizer.learning_rate", float("nan"), ["config.optimizer.learning_rate", "nan", "finite"]),
        ("optimizer.learning_rate", 10**400, ["config.optimizer.learning_rate", "finite"]),
        ("optimizer.decay_rate", -0.1, ["config.optimizer.decay_rate", "positive"]),
        ("optimizer.warmup_steps", -1, ["config.optimizer.warmup_steps", "negative"]),
        ("optimizer.name", "adamw", ["config.optimizer.name", "'adam'", "'sgd'", "'rmsprop'"]),
        ("optimizer.schedule", "step", ["config.optimizer.schedule", "'staircase'", "'plateau'"]),
        ("optimizer.weight_decay", -1e-4, ["config.optimizer.weight_decay", "0 for none"]),
        ("optimizer.momentum", 1.0, ["config.optimizer.momentum", "below 1"]),
        ("optimizer.momentum", 0.5, ["config.optimizer.name = 'adam' does not read it, only 'sgd' and 'rmsprop'"]),
        ("optimizer.plateau_factor", 1.0, ["config.optimizer.plateau_factor", "between 0 and 1"]),
        ("optimizer.plateau_patience", 0, ["config.optimizer.plateau_patience", "at least one"]),
        (
            "optimizer.plateau_patience",
            5,
            ["config.optimizer.plateau_patience", "only 'plateau'", "keeps its default, 3"],
        ),
        ("model.descriptor_dim", 0, ["config.model.descriptor_dim", "positive"]),
        ("rendered_city.train_tiles_per_side", 2, ["config.rendered_city.train_tiles_per_side", "at least 3"]),
    ],
)
def test_an_impossible_value_names_its_key(path, value, parts):
    with pytest.raises(ConfigError) as error:
        tasks.parse(_with(path, value))
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        ("images.sides", 3, ["config.images.sides is not a config key", "stored_side"]),
        ("images.stored_side", 4, ["config.images.stored_side = 4", "0 for images as they are"]),
        ("images.classes", "all", ["config.images.classes", "'fine'", "'coarse'"]),
        ("images.validation_fraction", 0.5, ["config.images.validation_fraction", "below 0.5"]),
        ("images.crop", 0, ["config.images.crop = 0"]),
        ("images.crop", 257, ["config.images.scales = (256, 256)", "config.images.crop = 257"]),
        ("images.scales", (512, 256), ["config.images.scales", "(least, most)"]),
        ("images.scales", 256, ["config.images.scales", "2 values"]),
        ("images.colour_shift", -0.1, ["config.images.colour_shift"]),
        ("classifier.dropout", 1.0, ["config.classifier.dropout = 1.0", "-1 for what the backbone's paper has"]),
        ("classifier.norm_momentum", 1.0, ["config.classifier.norm_momentum = 1.0"]),
        ("classifier.initialisation", "zeros", ["config.classifier.initialisation", "'glorot'"]),
        ("classifier.test_scales", (), ["config.classifier.test_scales", "at least one"]),
        ("classifier.test_scales", (256, 200), ["config.classifier.test_scales", "config.images.crop = 224"]),
        ("classifier.test_protocol", "crops", ["config.classifier.test_protocol", "'dense_and_multi_crop'"]),
        ("classifier.crops_per_side", 3, ["config.classifier.crops_per_side = 3", "only 'multi_crop'", "default, 5"]),
        (
            "micro_batch_size",
            2,
            ["config.micro_batch_size is not read by", "'cross_view' and 'cross_view_distillation'"],
        ),
        ("batch.augment", True, ["config.batch.augment is not read by config.task = 'classification'"]),
        ("batch.size", 0, ["config.batch.size"]),
        ("images", None, ["config.images = None: expected a group of keys"]),
        ("data", _VALID["data"], ["config.data is not read by config.task = 'classification', only by 'cross_view'"]),
        ("loss.alpha", 5.0, ["config.loss is not read by config.task = 'classification', only by 'cross_view'."]),
        ("task", "cross_view", ["config.images is not read by config.task = 'cross_view'", "'geolocation'"]),
    ],
)
def test_an_impossible_value_of_labelled_images_names_its_key(path, value, parts):
    with pytest.raises(ConfigError) as error:
        tasks.parse(_with(path, value, _IMAGES))
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(("key", "value"), [("initialisation", "glorot"), ("shallower", "runs/vgg-vgg11")])
def test_only_a_vgg_without_a_weight_file_has_a_choice_of_its_start(key, value):
    def parse(**changes):
        return tasks.parse(_IMAGES | {"classifier": _IMAGES["classifier"] | {key: value} | changes})

    assert getattr(parse(backbone="vgg16").classifier, key) == value
    with pytest.raises(ConfigError, match=rf"config\.classifier\.{key} = .*VGG alone has a choice"):
        parse(backbone="resnet50")
    with pytest.raises(ConfigError, match=rf"config\.classifier\.{key} = .*leave one of them out"):
        parse(backbone="vgg16", pretrained="vgg16.h5")


def test_a_plateau_needs_something_held_out():
    plateau = {"optimizer": {"schedule": "plateau"}}
    tasks.parse(_VALID | plateau)
    with pytest.raises(ConfigError, match=r"optimizer\.schedule = 'plateau'.*config\.data\.validation_fraction = 0"):
        tasks.parse(_VALID | plateau | {"data": _VALID["data"] | {"validation_fraction": 0.0}})


def test_ways_of_testing_have_their_values():
    def parse(**changes):
        return tasks.parse(_IMAGES | {"classifier": _IMAGES["classifier"] | changes})

    assert parse(test_protocol="multi_crop", crops_per_side=3, test_scales=(250,)).classifier.crops_per_side == 3
    assert parse(test_protocol="dense", test_scales=(256, 384)).classifier.test_scales == (256, 384)
    with pytest.raises(ConfigError, match=r"config\.classifier\.crops_per_side = 0"):
        parse(test_protocol="multi_crop", crops_per_side=0)
    with pytest.raises(ConfigError, match=r"config\.classifier\.test_scales = \(256, 250\): multiples of 32"):
        parse(test_protocol="dense_and_multi_crop", test_scales=(256, 250))


def test_each_task_has_its_groups():
    images, cross_view = tasks.parse(_IMAGES), tasks.parse(_VALID)
    assert images.images.scales == (256, 256)
    assert not {"data", "model", "loss", "mining", "micro_batch_size"} & set(config_schema.to_dict(images))
    assert "images" not in config_schema.to_dict(cross_view)
    assert tasks.parse(config_schema.to_dict(images)) == images
    with pytest.raises(ConfigError, match=r"config\.images is not read by config\.task = 'cross_view'"):
        tasks.parse(_with("images.name", "grocery"))


def test_a_task_that_is_none_is_named_with_those_that_are():
    with pytest.raises(ConfigError, match=r"config\.task = 'crossview'\. Allowed: classification, cross_view, "):
        tasks.parse(_VALID | {"task": "crossview"})
    with pytest.raises(ConfigError, match=r"config\.task = \['cross_view'\]"):
        tasks.parse(_VALID | {"task": ["cross_view"]})


def test_a_stored_config_may_hold_keys_that_its_task_never_read(tmp_path):
    once = {"loss": {"alpha": 10.0}, "mining": {"enabled": False}, "micro_batch_size": 0, "eval_symmetries": False}
    stored = _IMAGES | once | {"batch": {"size": 1, "one_city": False, "augment": False}}
    assert tasks.parse_stored(stored, tmp_path) == tasks.parse(_IMAGES)
    with pytest.raises(ConfigError, match=rf"the run in {tmp_path} has a config .*config\.images\.sides is not"):
        tasks.parse_stored(_with("images.sides", 3, stored), tmp_path)


def test_wrong_configs_fail_before_jax_is_loaded():
    script = "import sys, vigor_jax.tasks; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


@pytest.mark.parametrize("key", ["name", "task", "epochs", "data", "model", "batch"])
def test_a_missing_key_is_named(key):
    tree = copy.deepcopy(_VALID)
    del tree[key]
    with pytest.raises(ConfigError, match=rf"config\.{key} is missing"):
        tasks.parse(tree)


def test_a_whole_number_is_a_finite_number():
    rate = tasks.parse(_with("optimizer.learning_rate", 1)).optimizer.learning_rate
    assert (rate, type(rate)) == (1.0, float)


def test_a_name_may_be_a_folder_below_runs():
    assert tasks.parse(_with("name", "study/a")).name == "study/a"
