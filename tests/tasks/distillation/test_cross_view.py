"""A student learns its teacher's embeddings, and the teacher stays as it is."""

import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from vigor_jax import config as configs
from vigor_jax import tasks
from vigor_jax.config import ConfigError
from vigor_jax.errors import UserError
from vigor_jax.models import CrossViewModel
from vigor_jax.parallel import mesh as meshes
from vigor_jax.train import loop
from vigor_jax.train import state as states
from vigor_jax.train import step as steps
from vigor_jax.train.checkpoint import Checkpoints
from vigor_jax.workdir import finished_run
from vigor_jax.workdir.errors import NoFinishedRun, ResumeError

OPTIMIZER = optax.sgd(1.0)  # shows the gradient itself
QUICK = {"xla_backend_optimization_level": 0}
SMALL = {"aggregation": "safa", "backbone": "vgg11", "num_heads": 2, "final_pool": False}


def finished(workdir, config, seed):
    """Writes what a run of the config would leave, had it ended where it began; returns its variables."""
    task, mesh = tasks.create(config), meshes.data_mesh(jax.devices()[:1])
    state = states.create(task, OPTIMIZER, seed, mesh)
    for view in ("aerial", "ground"):  # as if training had moved the means
        mean = state.model_state["batch_stats"][f"{view}_centring"]["mean"]
        state.model_state["batch_stats"][f"{view}_centring"]["mean"] = mean + 0.1
    with Checkpoints(workdir / "checkpoints", newest=1, selection_metric=task.selection_metric) as checkpoints:
        checkpoints.save(1, state, {"config": {}}, None)
        variables = jax.device_get(state.variables)
    ended = {"config": configs.to_dict(config), "steps": 1, "metrics": {}, "throughput": {}, "versions": {}}
    (workdir / "summary.json").write_text(json.dumps(ended))
    return variables


@pytest.fixture(scope="module")
def teacher(tmp_path_factory, town_config):
    """(workdir, variables): two heads of 26 channels."""
    workdir = tmp_path_factory.mktemp("teacher")
    return workdir, finished(workdir, town_config(), 3)


@pytest.fixture(scope="module")
def student_config(teacher, town_config):
    """`(**changes) -> Config` of a student with half the channels."""

    def make(**changes):
        student = {
            "task": "cross_view_distillation",
            "distillation.teacher": str(teacher[0]),
            "model.width": 0.025,
            "model.centre_descriptor": False,
        }
        return town_config(**student | changes)

    return make


@pytest.fixture(scope="module")
def one_step(student_config, teacher):
    """A task, its fresh state and a batch; what loss and gradient are, image by image and without any mapping."""
    task = tasks.create(student_config())
    state = jax.device_get(states.create(task, OPTIMIZER, 0, meshes.data_mesh(jax.devices()[:1])))
    batches = task.batches(0)
    batch = next(batches)
    batches.close()
    student = CrossViewModel(width=0.025, projection_dim=52, **SMALL)
    taught = CrossViewModel(width=0.05, centre_descriptor=True, **SMALL)
    variables = {"params": state.params}

    def embedded(model, variables, view):
        encode = jax.jit(lambda image: model.apply(variables, image, view, method="encode"), compiler_options=QUICK)
        return np.concatenate([encode(image[None]).embedding for image in batch[view]])

    targets = {view: embedded(taught, teacher[1], view) for view in ("aerial", "ground")}
    distances = {}
    for view, target in targets.items():
        distances[view] = sum(np.sum((embedded(student, variables, view) - target) ** 2, axis=1)) / 8

    def loss(params):
        images = batch["aerial"], batch["ground"]
        pairs = student.apply({"params": params}, *images, train=True)
        return sum(jnp.sum((getattr(pairs, view) - target) ** 2) / 16 for view, target in targets.items())

    gradient = jax.jit(jax.grad(loss), compiler_options=QUICK)(state.params)
    return task, state, batch, (distances, jax.device_get(gradient))


def test_the_step_reads_all_that_is_put_on_the_devices(student_config, batch_keys):
    yielded, read = batch_keys(tasks.create(student_config()))
    assert yielded == read == {"aerial", "ground"}


@pytest.mark.parametrize("devices", [1, 4])
def test_a_step_is_the_distance_of_every_image_and_leaves_the_teacher_as_it_is(one_step, teacher, devices):
    task, before, batch, (distances, gradient) = one_step
    mesh = meshes.data_mesh(jax.devices()[:devices])
    state = jax.device_put(before, meshes.replicated(mesh))
    batch = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    lowered = steps.make(task, OPTIMIZER, lambda step: 1.0, 0, mesh).lower(state, batch)
    assert (
        lowered.as_text().count("is_finite") == 2
    )  # of the loss and the norm of the gradient, and none of the teacher
    step = lowered.compile(QUICK)
    state, metrics, _, _ = step(state, batch)

    for view in ("aerial", "ground"):
        np.testing.assert_allclose(metrics[f"{view}_distance"], distances[view], rtol=1e-5)
        assert 0.5 < distances[view] < 4
        assert 0 < metrics[f"{view}_spread"] <= 1
    np.testing.assert_allclose(metrics["loss"], (distances["aerial"] + distances["ground"]) / 2, rtol=1e-5)
    taken = jax.tree.map(lambda old, new: old - np.asarray(new), before.params, state.params)
    for found, expected in zip(jax.tree.leaves(taken), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-5)
    # The very teacher: neither trained nor averaged, and handed on where it lies.
    assert set(state.model_state) == {"teacher"}
    addresses = pointers(state.model_state)
    state, _, _, _ = step(state, batch)
    jax.tree.map(np.testing.assert_array_equal, state.model_state["teacher"], teacher[1])
    assert pointers(state.model_state) == addresses


def pointers(tree):
    """Where each array lies on each device."""
    shards = [shard.data for leaf in jax.tree.leaves(tree) for shard in leaf.addressable_shards]
    return [shard.unsafe_buffer_pointer() for shard in shards]


def test_neither_gradient_nor_optimiser_know_of_the_teacher(student_config):
    task = tasks.create(student_config())
    state = states.abstract(task, optax.adam(1e-3), 0, meshes.data_mesh(jax.devices()[:1]))
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert len(moments) == 2 * len([leaf for leaf in jax.tree.leaves(state.params) if leaf.ndim])


def test_recalls_stand_beside_those_of_the_teacher(student_config, town_config, teacher):
    task = tasks.create(student_config())
    mesh = meshes.data_mesh(jax.devices()[:2])
    variables = jax.device_get(task.init(jax.random.key(0)))
    metrics = task.evaluate(variables, mesh).metrics
    own = tasks.create(town_config()).evaluate(teacher[1], mesh).metrics
    for split in ("validation", "same_area", "cross_area"):
        for name in ("top1", "top5", "top10", "top1_percent", "hit_rate"):
            assert metrics[f"{split}/teacher_{name}"] == own[f"{split}/{name}"]
        if own[f"{split}/top1"]:
            assert metrics[f"{split}/top1_of_teacher"] == metrics[f"{split}/top1"] / own[f"{split}/top1"]
        else:
            assert f"{split}/top1_of_teacher" not in metrics
    assert own["cross_area/top10"] != metrics["cross_area/top10"]
    assert task.table(metrics)["same_area"]["teacher@5"] == f"{100 * own['same_area/top5']:.1f}"
    # A student that is its teacher is as good.
    itself = tasks.create(
        student_config(**{"model.width": 0.05, "model.centre_descriptor": True, "distillation.projection": False})
    )
    again = itself.evaluate(teacher[1] | {"teacher": teacher[1]}, mesh).metrics
    assert all(again[key] == value for key, value in own.items())
    assert again["validation/top10"] == again["validation/teacher_top10"]


def losses(workdir):
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return {row["step"]: row["train/loss"] for row in rows if "train/loss" in row}


def test_a_checkpoint_of_another_teacher_is_refused(student_config, teacher):
    task = tasks.create(student_config())
    assert task.fingerprint["teacher"] == finished_run.digest(teacher[1])
    task.restore_plan(task.plan_state())
    other = {"teacher": task.plan_state()["teacher"] ^ np.uint8(1)}
    with pytest.raises(UserError, match="A teacher cannot be exchanged midway"):
        task.restore_plan(other)


@pytest.mark.trains
@pytest.mark.long
def test_a_stopped_run_goes_on_bit_for_bit_and_with_no_other_teacher(
    student_config, town_config, teacher, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "data_mesh", lambda: meshes.data_mesh(jax.devices()[:1]))
    steps_of = {"model.num_heads": 1, "data.protocols": ("same_area",), "data.test_cities": ()}
    loop.train_and_evaluate(student_config(**steps_of, epochs=2), tmp_path / "whole")
    loop.train_and_evaluate(student_config(**steps_of), tmp_path / "parts")

    other = tmp_path / "teacher"
    finished(other, town_config(), 4)
    exchanged = student_config(**steps_of, epochs=2, **{"distillation.teacher": str(other)})
    with pytest.raises(ResumeError, match="fingerprint of teacher"):
        loop.train_and_evaluate(exchanged, tmp_path / "parts")
    with pytest.raises(UserError, match="A teacher cannot be exchanged midway"):
        loop.train_and_evaluate(exchanged, tmp_path / "parts", allow_changes=True)

    moved = shutil.copytree(teacher[0], tmp_path / "moved")
    loop.train_and_evaluate(
        student_config(**steps_of, epochs=2, **{"distillation.teacher": str(moved)}), tmp_path / "parts"
    )
    whole, parts = (losses(tmp_path / run) for run in ("whole", "parts"))
    assert whole == parts
    assert min(whole.values()) < whole[1]
    page = (tmp_path / "whole" / "report.html").read_text()
    assert "Queries and what they found" in page
    assert re.search(r'<th scope="col">teacher</th>', page)


def test_what_cannot_teach_is_named(student_config, town_config, teacher, tmp_path):
    with pytest.raises(NoFinishedRun, match=r"nowhere holds no run\. Train it first"):
        tasks.create(student_config(**{"distillation.teacher": str(tmp_path / "nowhere")}))
    with pytest.raises(ConfigError, match=r"data\.ground_size = \(32, 96\): the teacher .* of \(32, 64\) pixels"):
        tasks.create(student_config(**{"data.ground_size": (32, 96)}))
    with pytest.raises(ConfigError, match=r"embeddings have 26 numbers and the teacher's 52"):
        tasks.create(student_config(**{"distillation.projection": False}))
    other = tmp_path / "other"
    shutil.copytree(teacher[0], other)
    summary = json.loads((other / "summary.json").read_text())
    summary["config"] = {
        "name": "fruit",
        "task": "classification",
        "epochs": 1,
        "images": {"name": "grocery"},
        "classifier": {"backbone": "mobilenet_0.25"},
        "batch": {"size": 1},
    }
    (other / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(ConfigError, match="a run of the task 'classification'"):
        tasks.create(student_config(**{"distillation.teacher": str(other)}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distillation.teacher": ""}, r"config\.distillation\.teacher = '': name the workdir"),
        ({"loss.alpha": 3.0}, r"config\.loss is not read by config\.task = 'cross_view_distillation'"),
        ({"mining.enabled": True}, r"config\.mining is not read by"),
        ({"model.offset_head": "regression"}, r"config\.(model\.offset_head|loss)"),
        ({"task": "cross_view"}, r"config\.distillation is not read by config\.task = 'cross_view'"),
    ],
)
def test_values_that_cannot_work(student_config, changes, message):
    with pytest.raises(ConfigError, match=message):
        student_config(**changes)
