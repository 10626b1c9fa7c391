"""A run starts from another in the place of a weight file, by the same strict report."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax import tasks
from vigor_jax.config import ConfigError
from vigor_jax.models.pretrained.load_report import UnfittingWeightsError
from vigor_jax.tasks.classification import network
from vigor_jax.tasks.cross_view.towers import read_weights


def photo_config(**changes):
    tree = {"name": "photos", "task": "classification", "epochs": 1, "batch": {"size": 2}}
    groups = {
        "images": {"name": "grocery", "crop": 32, "scales": (32, 32)},
        "classifier": {"backbone": "mobilenet_0.25", "test_scales": (32,), "dtype": "float32"} | changes,
    }
    return tasks.parse(tree | groups)


def initialised(config, classes, seed):
    model = network.of(config, classes, axis_name=None)[0]
    return jax.device_get(jax.jit(lambda key: model.init(key, jnp.zeros((1, 32, 32, 3))))(jax.random.key(seed)))


@pytest.fixture(scope="module")
def classifier_run(tmp_path_factory, leave_run):
    """(Its workdir, its variables): of three classes."""
    workdir, config = tmp_path_factory.mktemp("classifier"), photo_config()
    variables = initialised(config, 3, 1)
    leave_run(workdir, config, variables)
    return workdir, variables


def test_a_classifier_starts_from_a_classifiers_run(classifier_run):
    workdir, variables = classifier_run
    _, preprocessing, found = network.of(photo_config(pretrained=str(workdir)), 3, axis_name=None)
    jax.tree.map(np.testing.assert_array_equal, found, variables)
    assert preprocessing == network.of(photo_config(), 3, axis_name=None)[1]


def test_a_network_sees_the_pixels_of_the_run_that_it_starts_from_however_far_back(classifier_run, leave_run, tmp_path):
    _, variables = classifier_run
    first, second = tmp_path / "first", tmp_path / "second"
    leave_run(first, photo_config(preprocessing="imagenet_mean"), variables)
    leave_run(second, photo_config(pretrained=str(first)), variables)
    for workdir in (first, second):
        _, preprocessing, _ = network.of(photo_config(pretrained=str(workdir)), 3, axis_name=None)
        assert preprocessing == "imagenet_mean"


def test_logits_of_other_classes_are_left_out(classifier_run):
    workdir, variables = classifier_run
    _, _, found = network.of(photo_config(pretrained=str(workdir)), 5, axis_name=None)
    assert "logits" not in found["params"]
    jax.tree.map(np.testing.assert_array_equal, found["params"]["backbone"], variables["params"]["backbone"])


def test_another_backbone_is_refused(classifier_run):
    config = photo_config(pretrained=str(classifier_run[0]), backbone="mobilenet_0.5")
    with pytest.raises(ConfigError, match=r"a run of mobilenet_0\.25, whose weights are not those of"):
        network.of(config, 3, axis_name=None)


def test_pairs_start_from_a_run_on_pairs_with_every_variable(town_config, leave_run, tmp_path):
    config = town_config()
    variables = jax.device_get(tasks.create(config).init(jax.random.key(3)))
    leave_run(tmp_path, config, variables)
    started = tasks.create(town_config(**{"model.pretrained": str(tmp_path)})).init(jax.random.key(4))
    jax.tree.map(np.testing.assert_array_equal, started, variables)
    with pytest.raises(UnfittingWeightsError, match="of another shape"):
        tasks.create(town_config(**{"model.pretrained": str(tmp_path), "model.num_heads": 3})).init(jax.random.key(4))
    with pytest.raises(ConfigError, match="whose two towers are no one network"):
        network.of(photo_config(pretrained=str(tmp_path)), 3, axis_name=None)


def test_both_towers_start_from_a_classifiers_run(classifier_run, town_config):
    workdir, variables = classifier_run
    weights, _ = read_weights(
        town_config(**{"model.backbone": "mobilenet_0.25", "model.width": 1.0, "model.pretrained": str(workdir)}).model
    )
    jax.tree.map(np.testing.assert_array_equal, weights["params"], variables["params"]["backbone"])
