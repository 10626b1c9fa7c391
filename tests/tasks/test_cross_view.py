import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import logging
from jax.sharding import NamedSharding, PartitionSpec

from vigor_jax import tasks
from vigor_jax.datasets.image_codec import decode
from vigor_jax.input.sampling import BatchPlan
from vigor_jax.losses import soft_margin_triplet
from vigor_jax.models import CrossViewModel
from vigor_jax.tasks import cross_view, cross_view_model
from vigor_jax.train import loop
from vigor_jax.train import mesh as meshes
from vigor_jax.train import state as states
from vigor_jax.train import step as steps

OPTIMIZER = optax.sgd(1.0)  # shows the gradient itself; Adam would hide a wrong scale
# Each program here runs once.
QUICK = {"xla_backend_optimization_level": 0}


def first_batches(task, first_step, count):
    batches = task.batches(first_step)
    try:
        return list(itertools.islice(batches, count))
    finally:
        batches.close()


@pytest.fixture(scope="module", params=["safa", "fully_connected"])
def trained(request, town_config):
    """A task, its fresh state, a batch, and what a step finds without any mapping: loss, gradient, running means."""
    config = town_config(
        **{"model.aggregation": request.param, "model.centre_descriptor": request.param == "safa", "loss.alpha": 3.0}
    )
    task = tasks.create(config)
    state = jax.device_get(states.create(task, OPTIMIZER, 0, meshes.data_mesh(jax.devices()[:1])))
    variables = state.variables
    model = CrossViewModel(
        aggregation=request.param,
        configuration="A",
        width=0.05,
        num_heads=2,
        descriptor_dim=16,
        dropout=0.0,
        centre_descriptor=request.param == "safa",
        final_pool=False,
    )
    (batch,) = first_batches(task, 0, 1)

    def plain(params):
        pairs, model_state = model.apply(
            variables | {"params": params}, batch["aerial"], batch["ground"], train=True, mutable=["batch_stats"]
        )
        return soft_margin_triplet(pairs.aerial, pairs.ground, 3.0), model_state

    plain = jax.jit(jax.value_and_grad(plain, has_aux=True), compiler_options=QUICK)
    (loss, model_state), gradient = plain(variables["params"])
    return task, state, batch, jax.device_get((loss, gradient, model_state))


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_a_step_on_devices_is_the_step_on_one(trained, devices):
    task, before, batch, (loss, gradient, model_state) = trained
    mesh = meshes.data_mesh(jax.devices()[:devices])
    state = jax.device_put(before, meshes.replicated(mesh))
    batch = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    step = steps.make(task, OPTIMIZER, lambda step: 1.0, 0, mesh).lower(state, batch).compile(QUICK)
    state, metrics, _, _ = step(state, batch)

    assert abs(loss - np.log(2)) > 0.01
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], optax.tree.norm(gradient), rtol=1e-4)
    taken = jax.tree.map(lambda old, new: old - np.asarray(new), before.params, state.params)
    # Rounding of the parameters themselves is in `taken`, so the scale is theirs, not only the gradient's.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-6), taken, gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.model_state, model_state)
    assert 0 < metrics["aerial_spread"] <= 1
    assert 0 < metrics["ground_spread"] <= 1


def test_batches_hold_the_rows_of_the_plan_from_any_step_on(town, town_config):
    task = tasks.create(town_config())
    train, panoramas = town.splits.train, town.data.panoramas
    plan = BatchPlan(panoramas.references[train], panoramas.city[train], seed=0, batch_size=8, one_city=False)
    assert task.steps_per_epoch == plan.steps_per_epoch >= 2
    batches = first_batches(task, 0, 5)
    for step, batch in enumerate(batches):
        rows = train[plan(step)]
        np.testing.assert_array_equal(batch["panorama"], rows)
        np.testing.assert_array_equal(batch["references"], panoramas.references[rows])
        for images, encoded, row in (
            (batch["ground"], town.data.ground, rows),
            (batch["aerial"], town.data.aerial, panoramas.references[rows, 0]),
        ):
            np.testing.assert_array_equal(images, [decode(encoded[r], "image") for r in row])
    for batch, again in zip(batches[3:], first_batches(task, 3, 2), strict=True):
        jax.tree.map(np.testing.assert_array_equal, batch, again)


def test_pretrained_weights_reach_both_towers_and_nothing_else(town_config, monkeypatch):
    changes = {"model.backbone": "vgg16", "model.width": 0.02}
    shapes = jax.eval_shape(tasks.create(town_config(**changes)).init, jax.random.key(0))["params"]["aerial_tower"]
    vgg = {
        layer: {part: np.full(array.shape, value, np.float32) for part, array in arrays.items()}
        for value, (layer, arrays) in enumerate(shapes.items(), start=2)
    }
    assert len(vgg) == 13
    models = []
    monkeypatch.setattr(
        cross_view_model, "CrossViewModel", lambda **options: models.append(CrossViewModel(**options)) or models[-1]
    )
    monkeypatch.setattr(cross_view, "load_vgg16", lambda path: {"weights.h5": (vgg, "keras")}[path])
    params = tasks.create(town_config(**changes, **{"model.pretrained": "weights.h5"})).init(jax.random.key(0))[
        "params"
    ]
    assert models[0].preprocessing == "keras"
    for tower in ("aerial_tower", "ground_tower"):
        jax.tree.map(np.testing.assert_array_equal, params.pop(tower), vgg)
    for aggregation in ("aerial_aggregation", "ground_aggregation"):
        assert 0.3 < np.std(params.pop(aggregation)["kernel_out"]) < 0.7
    assert not params


def test_the_fingerprint_is_that_of_data_split_and_batches(town_config):
    def fingerprint(**changes):
        return json.dumps(tasks.create(town_config(**changes)).fingerprint, sort_keys=True)

    same = fingerprint()
    for path, value in (("eval_batch_size", 7), ("optimizer.learning_rate", 0.1), ("input_threads", 1)):
        assert fingerprint(**{path: value}) == same
    both = {"data.train_cities": ("Chicago", "Seattle"), "data.protocols": ("same_area",), "data.test_cities": ()}
    others = [
        fingerprint(**changes)
        for changes in (
            {"data.train_cities": ("Chicago",), "data.test_cities": ("Seattle",)},
            both,
            {"data.protocols": ("cross_area",)},
            {"data.validation_fraction": 0.4},
            {"data.aerial_size": (48, 48)},
            {"batch.augment": True, "data.aerial_size": (32, 32)},
            {"batch.size": 4},
            {"batch.one_city": True},
            {"mining.enabled": True},
            {"loss.iou_weight": 0.1},
        )
    ]
    assert len({same, *others}) == 1 + len(others)


def test_a_collapsed_model_is_named_within_the_epoch_and_ranks_last(town_config, monkeypatch, tmp_path):
    """Towers whose every ReLU is dead, as too large a step leaves them."""
    warnings = []
    monkeypatch.setattr(logging, "warning", lambda message, *values: warnings.append(message % values))
    monkeypatch.setattr(loop, "data_mesh", lambda: meshes.data_mesh(jax.devices()[:1]))  # compiles in half the time
    init = cross_view.CrossView.init

    def dead(task, key):
        variables = init(task, key)
        for tower in ("aerial_tower", "ground_tower"):
            variables["params"][tower]["conv5_2"]["bias"] = jnp.full_like(
                variables["params"][tower]["conv5_2"]["bias"], -1e6
            )
        return variables

    monkeypatch.setattr(cross_view.CrossView, "init", dead)
    summary = loop.train_and_evaluate(town_config(), tmp_path)
    (warning,) = [warning for warning in warnings if "has collapsed" in warning]
    assert "ln 2" in warning
    assert "config.optimizer.learning_rate" in warning
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "train/loss" in row] == list(range(1, summary["steps"] + 1))
    np.testing.assert_allclose([row["train/loss"] for row in rows if "train/loss" in row], np.log(2), rtol=1e-6)
    for split in ("validation", "same_area", "cross_area"):
        for metric in ("top1", "top5", "top10", "top1_percent", "hit_rate", "hit_rate_covered"):
            assert summary["metrics"][f"{split}/{metric}"] == 0
        assert summary["metrics"][f"{split}/gallery"] > 10
