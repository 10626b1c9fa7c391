import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import logging
from jax.sharding import NamedSharding, PartitionSpec

from vigor_jax import datasets, tasks
from vigor_jax.datasets.image_codec import decode
from vigor_jax.errors import UserError
from vigor_jax.input.sampling import BatchPlan
from vigor_jax.losses import soft_margin_triplet
from vigor_jax.models import CrossViewModel
from vigor_jax.models.cross_view import Pairs
from vigor_jax.models.pretrained.load_report import Report
from vigor_jax.models.pretrained.loading import Loaded
from vigor_jax.parallel import mesh as meshes
from vigor_jax.tasks.cross_view import model as model_of_a_config
from vigor_jax.tasks.cross_view import task, towers
from vigor_jax.tasks.cross_view.hard_negatives import LAG
from vigor_jax.train import loop, too_little_memory
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
        backbone="vgg11",
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


@pytest.mark.parametrize("devices", [1, 8])
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


HYBRID = {
    "loss.alpha": 3.0,
    "loss.iou_weight": 0.1,
    "loss.offset_weight": 0.01,
    "loss.uncovering_semi_positives": "drop",
    "model.offset_head": "regression",
    "mining.enabled": True,
    "mining.hardest": 6,
}


ONE_LOSS = {
    "iou_loss": {"loss.iou_weight": 0.1, "loss.iou_form": "difference"},
    "offset_loss": {"loss.offset_weight": 0.01, "model.offset_head": "regression"},
}


@pytest.fixture(scope="module")
def hybrid(town_config):
    """A task in its hybrid phase, its fresh state, a batch, and what the losses and embeddings are without mapping."""
    task = tasks.create(town_config(**HYBRID))
    state = jax.device_get(states.create(task, OPTIMIZER, 0, meshes.data_mesh(jax.devices()[:1])))
    model = CrossViewModel(
        aggregation="safa",
        backbone="vgg11",
        width=0.05,
        num_heads=2,
        centre_descriptor=True,
        final_pool=False,
        offset_outputs=2,
    )
    (batch,) = first_batches(task, 0, 1)

    def plain(params):
        images = (batch[name] for name in ("aerial", "ground", "semi_positive"))
        pairs, _ = model.apply(state.variables | {"params": params}, *images, train=True, mutable=["batch_stats"])
        triplet = soft_margin_triplet(pairs.aerial, pairs.ground, 3.0)
        counts = batch["semi_positive_counts"]
        ratio = jnp.sum(pairs.ground * pairs.semi_positive, axis=1) / jnp.sum(pairs.ground * pairs.aerial, axis=1)
        iou = jnp.sum(counts * (ratio - batch["iou_ratio"]) ** 2) / counts.sum()
        offset = jnp.mean(jnp.sum((pairs.offset - batch["offset"]) ** 2, axis=1))
        losses = {"triplet_loss": triplet, "iou_loss": iou, "offset_loss": offset}
        return triplet + 0.1 * iou + 0.01 * offset, (losses, pairs)

    plain = jax.jit(jax.value_and_grad(plain, has_aux=True), compiler_options=QUICK)
    return task, state, batch, jax.device_get(plain(state.params))


@pytest.mark.parametrize(
    ("devices", "micro_batch_size", "remat"),
    [
        (1, 2, False),
        (4, 0, True),
        pytest.param(1, 0, False, marks=pytest.mark.long),
        pytest.param(4, 0, False, marks=pytest.mark.long),
        pytest.param(4, 1, True, marks=pytest.mark.long),
    ],
)
def test_a_hybrid_step_on_devices_is_the_step_on_one(hybrid, town, town_config, devices, micro_batch_size, remat):
    _, before, batch, ((loss, (losses, pairs)), gradient) = hybrid
    task = tasks.create(town_config(**HYBRID, **{"micro_batch_size": micro_batch_size, "model.remat": remat}))
    mesh = meshes.data_mesh(jax.devices()[:devices])
    rows = NamedSharding(mesh, PartitionSpec("data"))
    state = states.create(task, OPTIMIZER, 0, mesh)
    on_devices = jax.device_put(batch, rows)
    step = steps.make(task, OPTIMIZER, lambda step: 1.0, 0, mesh).lower(state, on_devices).compile(QUICK)
    state, metrics, _, feedback = step(state, on_devices)

    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    for name, value in losses.items():
        assert value > 0
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4)
    taken = jax.tree.map(lambda old, new: old - np.asarray(new), before.params, state.params)
    # The quotient of two small similarities makes large terms that nearly cancel: a thousandth is lost by the order of
    # the sums, which is the processor's. A wrong scale would be off by the number of devices, a lost term by all of it.
    for found, expected in zip(jax.tree.leaves(taken), jax.tree.leaves(gradient), strict=True):
        assert np.linalg.norm(found - expected) < 4e-3 * np.linalg.norm(expected)

    # The pool: every positive, and those semi-positives that are some training panorama's positive.
    covered = set(town.data.panoramas.references[town.splits.train, 0].tolist())
    stored = {}
    for slot, tile in enumerate(batch["references"][:, 0]):
        stored[int(tile)] = pairs.aerial[slot]
        second = int(batch["semi_positive_tile"][slot])
        if second in covered:
            stored[second] = pairs.semi_positive[slot]
    pool = state.carry["pool"]
    assert len({str(shard.index) for shard in pool.embeddings.addressable_shards}) == devices
    held = {int(tile): pool.embeddings[slot] for slot, tile in enumerate(pool.tile) if tile >= 0}
    assert list(held) == list(stored)  # in the order of the batch
    assert 8 < len(held) < 16
    for tile, embedding in stored.items():
        np.testing.assert_allclose(held[tile], embedding, atol=1e-5)

    np.testing.assert_array_equal(feedback["examples"], batch["example"])
    hardest = np.asarray(feedback["hardest"])
    assert hardest.shape == (8, 6)
    for slot, references in enumerate(batch["references"]):
        negatives = {tile: float(embedding @ pairs.ground[slot]) for tile, embedding in stored.items()}
        negatives = {tile: score for tile, score in negatives.items() if tile not in references}
        expected = sorted(negatives.values(), reverse=True)[:6]
        assert not set(hardest[slot]) & set(references.tolist())
        np.testing.assert_allclose([negatives[int(tile)] for tile in hardest[slot]], expected, atol=1e-5)


def adam_step(config, batch, devices):
    """What a step hands back, on the host."""
    task, adam, mesh = tasks.create(config), optax.adam(1e-5), meshes.data_mesh(jax.devices()[:devices])
    state = states.create(task, adam, 0, mesh)
    rows = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    step = steps.make(task, adam, lambda step: 1.0, 0, mesh).lower(state, rows).compile(QUICK)
    return jax.device_get(step(state, rows))


@pytest.fixture(scope="module")
def adam_step_at_once(hybrid, town_config):
    """Without the quotient of similarities, whose gradient makes much of the last digit."""
    changes, batch = HYBRID | {"loss.iou_form": "difference"}, hybrid[2]
    return changes, batch, adam_step(town_config(**changes), batch, 1)


@pytest.mark.long
@pytest.mark.parametrize(("devices", "micro_batch_size"), [(1, 2), (2, 1), (2, 4), (8, 1)])
def test_an_update_in_micro_batches_is_that_at_once(adam_step_at_once, town_config, devices, micro_batch_size):
    """Parameters, moments of the gradient, running means, pool, metrics and the hardest tiles."""
    changes, batch, expected = adam_step_at_once
    found = adam_step(town_config(**changes, micro_batch_size=micro_batch_size), batch, devices)
    for (path, wanted), value in zip(jax.tree.leaves_with_path(expected), jax.tree.leaves(found), strict=True):
        value = value[: len(wanted)] if wanted.ndim else value  # the pool's last rows are padding
        # Adam's second moment is the gradient squared, and its relative error twice the gradient's.
        allowed = 2e-5 if jax.tree_util.GetAttrKey("nu") in path else 1e-5
        assert np.max(np.abs(value - wanted)) <= allowed * np.max(np.abs(wanted)), path


def test_the_phases_of_a_run(town, town_config):
    """Random batches of pairs, then half mined ones, then semi-positives: from the epochs that the config names."""
    changes = {"loss.hybrid_from_epoch": 6, "batch.size": 4, "mining.from_epoch": 2}
    task, panoramas = tasks.create(town_config(**HYBRID, **changes)), town.data.panoramas
    references, city = panoramas.references[town.splits.train], panoramas.city[town.splits.train]
    random = BatchPlan(references, city, seed=0, batch_size=4, one_city=False)
    an_epoch, rng = task.steps_per_epoch, np.random.default_rng(0)
    positives, batches = references[:, 0], task.batches(0)
    hardest, semi_positives, mined = [], [], []
    for t in range(5 * an_epoch + 2):
        batch = next(batches)
        examples = batch["example"].tolist()
        count = 4 if t < an_epoch else 2
        assert examples[:count] == random(t).tolist()[:count]
        semi_positives.append("semi_positive" in batch)
        if t >= an_epoch:
            visible = [found for found in hardest[: t - LAG + 1] if examples[0] in found]
            if visible:  # the first partner's tiles are tried first
                mined.append(positives[examples[2]] in visible[-1][examples[0]])
        found = rng.permuted(np.tile(np.unique(positives), (4, 1)), axis=1)[:, :6].astype(np.int32)
        hardest.append(dict(zip(examples, found, strict=True)))
        task.take_feedback(t, {"examples": jnp.asarray(batch["example"]), "hardest": jnp.asarray(found)})
    batches.close()
    assert semi_positives == [False] * (5 * an_epoch) + [True] * 2
    assert len(mined) > an_epoch
    assert np.mean(mined) > 0.9  # a tile whose panoramas all overlap the batch is passed over


@pytest.mark.parametrize("mining", [False, True])
@pytest.mark.parametrize("losses", ["triplets", "iou_loss", "offset_loss", "both"])
def test_the_step_reads_all_that_is_put_on_the_devices(town_config, batch_keys, losses, mining):
    changes = {"triplets": {}, "both": ONE_LOSS["iou_loss"] | ONE_LOSS["offset_loss"], **ONE_LOSS}[losses]
    task = tasks.create(town_config(**changes, **{"mining.enabled": mining, "loss.hybrid_from_epoch": 2}))
    pairs = {"aerial", "ground"} | ({"example", "city", "references"} if mining else set())
    assert batch_keys(task) == (pairs, pairs)
    yielded, read = batch_keys(task, step=task.steps_per_epoch)
    assert yielded == read >= pairs
    assert ("semi_positive" in read, "offset" in read) == (
        losses in ("iou_loss", "both"),
        losses in ("offset_loss", "both"),
    )


@pytest.mark.parametrize("name", ONE_LOSS)
def test_a_loss_of_weight_0_is_neither_computed_nor_logged(hybrid, town_config, monkeypatch, name):
    """Not even of a batch that has all it reads: 0 times the quotient's gradient at orthogonal pairs is NaN."""
    _, _, batch, _ = hybrid
    units = np.eye(8, dtype=np.float32)
    embeddings = {"aerial": np.roll(units, 1, axis=0), "ground": units, "semi_positive": np.roll(units, 2, axis=0)}

    def orthogonal_pairs(model, variables, aerial, ground, semi_positive, **options):
        params = variables["params"]
        second = None if semi_positive is None else params["semi_positive"]
        offset = params["aerial"][:, :2] if model.offset_outputs else None
        return Pairs(params["aerial"], params["ground"], second, offset), {}

    monkeypatch.setattr(towers, "training_pairs", orthogonal_pairs)
    one = tasks.create(town_config(**ONE_LOSS[name]))

    def step(params, batch):
        def loss(params):
            loss, output = one.loss({"params": params}, batch, jax.random.key(0), carry={}, axis_name=meshes.AXIS)
            return loss, output.metrics

        return jax.value_and_grad(loss, has_aux=True)(params)

    rows = PartitionSpec(meshes.AXIS)
    program = meshes.pmap(step, meshes.data_mesh(jax.devices()[:1]), (rows, rows), (PartitionSpec(), rows))
    (loss, metrics), gradient = program(embeddings, batch)
    assert metrics.keys() == {"triplet_loss", name, "aerial_spread", "ground_spread"}
    weight = next(value for key, value in ONE_LOSS[name].items() if key.endswith("weight"))
    np.testing.assert_allclose(loss, metrics["triplet_loss"] + weight * metrics[name], rtol=1e-6)
    assert all(np.isfinite(array).all() for array in gradient.values())


def test_the_offset_loss_alone_embeds_and_mines_no_semi_positives(town_config):
    alone = {"loss.iou_weight": 0.0, "mining.capacity": 8}
    task = tasks.create(town_config(**(HYBRID | alone)))
    mesh = meshes.data_mesh(jax.devices()[:1])
    (batch,) = first_batches(task, 0, 1)
    assert batch.keys() == {"aerial", "ground", "example", "city", "references", "offset"}
    state = states.create(task, OPTIMIZER, 0, mesh)
    batch = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    step = steps.make(task, OPTIMIZER, lambda step: 1.0, 0, mesh).lower(state, batch).compile(QUICK)
    state, metrics, _, feedback = step(state, batch)
    assert metrics["offset_loss"] > 0
    assert "iou_loss" not in metrics
    held = np.asarray(state.carry["pool"].tile)
    np.testing.assert_array_equal(held[held >= 0], batch["references"][:, 0])
    assert (feedback["hardest"] >= 0).any()
    # With semi-positives a pool of as many tiles as the batch has pairs holds no batch.
    with pytest.raises(UserError, match=r"config\.mining\.capacity = 8.*fewer than the 16 of one batch"):
        tasks.create(town_config(**(HYBRID | {"mining.capacity": 8})))


def test_batches_hold_the_rows_of_the_plan_from_any_step_on(town, town_config):
    task = tasks.create(town_config())
    train, panoramas = town.splits.train, town.data.panoramas
    plan = BatchPlan(panoramas.references[train], panoramas.city[train], seed=0, batch_size=8, one_city=False)
    assert task.steps_per_epoch == plan.steps_per_epoch >= 2
    batches = first_batches(task, 0, 5)
    for step, batch in enumerate(batches):
        rows = train[plan(step)]
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
        model_of_a_config, "CrossViewModel", lambda **options: models.append(CrossViewModel(**options)) or models[-1]
    )
    files = {("vgg16", "weights.h5"): Loaded({"params": vgg}, "keras", Report((), (), (), (), ()))}
    monkeypatch.setattr(towers, "load", lambda module, name, path: files[name, path])
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
    harmless = {"eval_batch_size": 7, "optimizer.learning_rate": 0.1, "input_threads": 1}
    harmless |= {"micro_batch_size": 4, "model.remat": True}
    for path, value in harmless.items():
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
            {"loss.offset_weight": 0.01, "model.offset_head": "regression"},
        )
    ]
    assert len({same, *others}) == 1 + len(others)


@pytest.mark.trains
@pytest.mark.long
def test_a_collapsed_model_is_named_within_the_epoch_and_ranks_last(town_config, monkeypatch, tmp_path):
    """Towers whose every ReLU is dead, as too large a step leaves them."""
    warnings = []
    monkeypatch.setattr(logging, "warning", lambda message, *values: warnings.append(message % values))
    monkeypatch.setattr(loop, "data_mesh", lambda: meshes.data_mesh(jax.devices()[:1]))  # compiles in half the time
    init = task.CrossView.init

    def dead(task, key):
        variables = init(task, key)
        for tower in ("aerial_tower", "ground_tower"):
            variables["params"][tower]["conv5_2"]["bias"] = jnp.full_like(
                variables["params"][tower]["conv5_2"]["bias"], -1e6
            )
        return variables

    monkeypatch.setattr(task.CrossView, "init", dead)
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


def test_a_task_that_holds_nothing_out_trains_on_all_and_selects_by_nothing(town, town_config):
    whole = {"data.validation_fraction": 0.0, "data.protocols": ("cross_area",)}
    made, with_validation = tasks.create(town_config(**whole)), tasks.create(town_config())
    seattle = np.count_nonzero(town.data.panoramas.city == town.data.cities.index("Seattle"))
    assert made.steps_per_epoch == seattle // 8 == 10
    assert made.selection_metric is None
    assert with_validation.selection_metric == "validation/top1"


def test_offsets_that_no_cell_covers_are_refused_at_the_start(town_config, monkeypatch):
    """Tiles of a grid so wide that a panorama lies further from its positive's centre than the cells reach."""
    load = datasets.load

    def wide(*arguments):
        data = load(*arguments)
        offset_px = data.panoramas.offset_px * 1.5
        return dataclasses.replace(data, panoramas=dataclasses.replace(data.panoramas, offset_px=offset_px))

    changes = {"model.offset_head": "classification", "loss.offset_weight": 0.01}
    tasks.create(town_config(**changes))
    monkeypatch.setattr(datasets, "load", wide)
    with pytest.raises(UserError, match="outside the 10 x 10 cells"):
        tasks.create(town_config(**changes))


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("vgg11", ["model.remat", "micro_batch_size", "batch.size"]),
        ("mobilenet_0.25", ["model.remat", "batch.size"]),  # in parts its normalisation would be another
    ],
)
def test_too_little_memory_is_answered_by_the_keys_that_the_backbone_allows(town_config, backbone, expected):
    config = town_config(**{"model.backbone": backbone, "model.width": 1.0, "model.aggregation": "gem"})
    made = tasks.create(config)
    assert list(made.memory_keys) == expected
    advice = too_little_memory.advice(config, made)
    assert "config.model.remat (now False): True: activations are computed again" in advice
    assert "config.batch.size (now 8): fewer; each query then learns from fewer negatives" in advice
