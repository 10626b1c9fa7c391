"""Which network a config describes, and what its pixels are before it sees them."""

import typing

import pytest

from vigor_jax import tasks
from vigor_jax.config import ConfigError
from vigor_jax.models.preprocessing import PREPROCESSINGS
from vigor_jax.tasks.classification import network
from vigor_jax.tasks.classification.config import ClassifierConfig


def config_of(**chosen):
    tree = {
        "name": "any",
        "task": "classification",
        "epochs": 1,
        "images": {"name": "image_folders"},
        "classifier": {"backbone": "vgg11", **chosen},
        "batch": {"size": 8},
    }
    return tasks.parse(tree)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, "torchvision"),
        ({"backbone": "mobilenet_0.25"}, "tf"),
        ({"preprocessing": "imagenet_mean"}, "imagenet_mean"),
    ],
)
def test_random_weights_see_the_pixels_that_the_config_says(chosen, expected):
    _, preprocessing, weights = network.of(config_of(**chosen), 3, axis_name=None)
    assert (preprocessing, weights) == (expected, None)


def test_weights_that_bring_their_own_pixels_are_given_no_others():
    with pytest.raises(ConfigError, match=r"config\.classifier\.preprocessing = 'tf'.*leave one of them out"):
        config_of(preprocessing="tf", pretrained="vgg11.pth")


def test_a_run_that_was_not_trained_yet_is_asked_for_by_its_name():
    with pytest.raises(ConfigError, match=r"'runs/vgg-vgg11': nothing is there\. Train that run first.*'vgg-vgg11'"):
        network.of(config_of(pretrained="runs/vgg-vgg11"), 3, axis_name=None)


def test_a_config_may_name_every_preprocessing():
    hint = typing.get_type_hints(ClassifierConfig)["preprocessing"]
    assert set(typing.get_args(hint)) == {"", *PREPROCESSINGS}
