import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax import tasks
from vigor_jax.datasets.image_codec import decode
from vigor_jax.encoding.stopping import EvaluationStopped
from vigor_jax.input import augmentation
from vigor_jax.models import CrossViewModel
from vigor_jax.parallel import mesh as meshes
from vigor_jax.retrieval import windows
from vigor_jax.retrieval.errors import EvaluationError

METRICS = ("top1", "top5", "top10", "top1_percent", "hit_rate", "hit_rate_covered")
METRES = ("median_m", "mean_m", "within_5m", "within_10m", "within_25m", "within_50m")


def image(encoded, row):
    return decode(encoded[row], "image")


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def mean_colour(pixels):
    pixels = pixels.reshape(-1, 3).astype(np.float64)
    return np.concatenate([pixels.mean(axis=0), pixels.std(axis=0)])


def colour_histogram(pixels):
    red, green, blue = (pixels.reshape(-1, 3).astype(int) // 32).T
    return np.sqrt(np.bincount(64 * red + 8 * green + blue, minlength=512) / len(red))


def standardise(features):
    features = np.array(features) - np.mean(features, axis=0)
    deviation = features.std(axis=0)
    return unit(features / np.maximum(deviation, 0.1 * deviation.max()))


def metrics_by_loops(queries, gallery, references):
    """Of embeddings in float64, query by query, reference by reference; ties count against the model."""
    hits = {name: [] for name in METRICS}
    one_percent = int(0.01 * len(gallery)) + 1
    for query, own in zip(queries, references, strict=True):
        scores = [float(query @ tile) for tile in gallery]
        positive, best = scores[own[0]], max(scores[tile] for tile in own)
        rank = sum(scores[tile] >= positive for tile in range(len(gallery)) if tile != own[0])
        unrelated = [scores[tile] for tile in range(len(gallery)) if tile not in own]
        for name, k in (("top1", 1), ("top5", 5), ("top10", 10), ("top1_percent", one_percent)):
            hits[name].append(rank < k)
        hits["hit_rate"].append(not any(score >= positive for score in unrelated))
        hits["hit_rate_covered"].append(not any(score >= best for score in unrelated))
    return {name: np.mean(hit) for name, hit in hits.items()}


@pytest.fixture(scope="module")
def variables(town_config):
    """Random towers, and running means as if training had moved them, so that centring matters."""
    variables = jax.device_get(tasks.create(town_config()).init(jax.random.key(2)))
    rng = np.random.default_rng(0)
    statistics = variables["batch_stats"]
    for view in statistics.values():
        view["mean"] = rng.normal(0, 0.1, view["mean"].shape).astype(np.float32)
    return variables


@pytest.fixture(scope="module")
def embedded_one_by_one(town, variables):
    """Unit embeddings of every tile and panorama of the data set, each image by itself."""
    model = CrossViewModel(
        aggregation="safa", backbone="vgg11", width=0.05, num_heads=2, centre_descriptor=True, final_pool=False
    )
    found = []
    for view, encoded in (("aerial", town.data.aerial), ("ground", town.data.ground)):
        encode = jax.jit(lambda images, view=view: model.apply(variables, images, view, method="encode").embedding)
        rows = [encode(image(encoded, row)[None])[0] for row in range(len(encoded))]
        found.append(unit(np.asarray(rows, np.float64)))
    return found


@pytest.fixture(scope="module", params=[1, 8])
def evaluate(request, town_config):
    """`(variables, [should_stop]) -> metrics` on some devices, in batches that do not divide the images."""
    task, mesh = tasks.create(town_config(eval_batch_size=13)), meshes.data_mesh(jax.devices()[: request.param])
    return lambda variables, *should_stop: task.evaluate(variables, mesh, *should_stop).metrics


def test_every_split_is_ranked_as_by_loops_over_single_images(town, variables, embedded_one_by_one, evaluate):
    metrics = evaluate(variables)
    aerial, ground = embedded_one_by_one
    assert list(town.splits.evaluations) == ["validation", "same_area", "cross_area"]
    for name, split in town.splits.evaluations.items():
        expected = metrics_by_loops(ground[split.panoramas], aerial[split.tiles], split.references)
        assert {metric: metrics[f"{name}/{metric}"] for metric in METRICS} == pytest.approx(expected, abs=1e-9), name
    # All but two of them different, so that none can stand in for another.
    assert len({metrics[f"cross_area/{metric}"] for metric in METRICS} - {0.0, 1.0}) >= 4


def test_size_chance_and_colour_stand_beside_every_split(town, variables, evaluate):
    first, again = evaluate(variables), evaluate(variables)
    assert first == again
    constants = {"queries", "gallery"}
    constants |= {f"chance_{metric}" for metric in ("top1", "top5", "top10", "top1_percent")}
    constants |= {f"{baseline}_{k}" for baseline in ("mean_colour", "colour_histogram") for k in ("top1", "top5")}
    metres = {f"centre_{name}" for name in METRES} | {
        f"assisted_{name}" for name in ("top1", "top5", "window", *METRES)
    }
    every = {f"{name}/{key}" for name in town.splits.evaluations for key in constants | set(METRICS) | metres}
    found = {name for name in town.splits.evaluations if first[f"{name}/top1"] > 0}
    assert set(first) == every | {f"{name}/centre_found_median_m" for name in found}
    for name, split in town.splits.evaluations.items():
        gallery = len(split.tiles)
        assert first[f"{name}/queries"] == len(split.panoramas)
        assert first[f"{name}/gallery"] == gallery
        assert first[f"{name}/chance_top5"] == 5 / gallery
        assert first[f"{name}/chance_top1_percent"] == (gallery // 100 + 1) / gallery
        for baseline, describe in (("mean_colour", mean_colour), ("colour_histogram", colour_histogram)):
            # Each view standardised over the whole split, not over a batch and not over both splits' images.
            queries = standardise([describe(image(town.data.ground, row)) for row in split.panoramas])
            tiles = standardise([describe(image(town.data.aerial, row)) for row in split.tiles])
            expected = metrics_by_loops(queries, tiles, split.references)
            for metric in ("top1", "top5"):
                assert first[f"{name}/{baseline}_{metric}"] == pytest.approx(expected[metric]), (name, baseline, metric)
    assert any(first[f"cross_area/{baseline}_top5"] > 0 for baseline in ("mean_colour", "colour_histogram"))


def test_nothing_is_compiled_twice(variables, evaluate, caplog):
    evaluate(variables)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        evaluate(variables)
        compiled = [line for line in caplog.messages if line.startswith("Compiling jit")]
        jax.jit(lambda x: x + len(compiled))(1)
    assert not compiled
    assert any(line.startswith("Compiling jit") for line in caplog.messages)  # what is looked for is what is logged


def test_the_table_shows_percent_of_every_split(town_config):
    splits, found = ("validation", "same_area", "cross_area"), {}
    for place, split in enumerate(splits):
        columns = ("top1_percent", "top1", "top5", "top10", "hit_rate", "chance_top1", "chance_top5")
        found |= {f"{split}/{name}": (10 * place + k) / 100 for k, name in enumerate(columns)}
        found |= {f"{split}/gallery": 100.0 + place}
        found |= {f"{split}/mean_colour_{metric}": 0.2 for metric in ("top1", "top5")}
        found |= {f"{split}/colour_histogram_top1": 0.1, f"{split}/colour_histogram_top5": 0.3}
    table = tasks.create(town_config()).table(found)
    assert list(table) == list(splits)
    assert list(table["cross_area"].items()) == [
        ("top-1%", "20.0"),
        ("top-1", "21.0"),
        ("top-5", "22.0"),
        ("top-10", "23.0"),
        ("hit rate", "24.0"),
        ("gallery", "102"),
        ("chance@1", "25.00"),
        ("chance@5", "26.00"),
        ("colour@1", "20.0"),
        ("colour@5", "30.0"),
    ]
    assert table["validation"]["hit rate"] == "4.0"


def test_the_table_shows_what_an_earlier_start_measured_with_a_test_split_fewer(town_config):
    metrics = ("top1_percent", "top1", "top5", "top10", "hit_rate", "gallery", "chance_top1", "chance_top5")
    colours = [f"{baseline}_{k}" for baseline in ("mean_colour", "colour_histogram") for k in ("top1", "top5")]
    row = {f"{split}/{name}": 0.5 for split in ("validation", "same_area") for name in (*metrics, *colours)}
    assert list(tasks.create(town_config()).table({"step": 4.0, "epoch": 1.0, **row})) == ["validation", "same_area"]


def test_a_model_that_gives_every_image_one_embedding_is_last(variables, evaluate):
    equal = jax.tree.map(jnp.zeros_like, variables)
    equal["batch_stats"] = jax.tree.map(lambda mean: jnp.full_like(mean, 0.3), variables["batch_stats"])
    metrics = evaluate(equal)
    for name in ("validation", "same_area", "cross_area"):
        assert {metric: metrics[f"{name}/{metric}"] for metric in METRICS} == dict.fromkeys(METRICS, 0.0)
        assert metrics[f"{name}/chance_top1"] > 0


def test_parameters_that_are_not_finite_stop_the_evaluation(variables, evaluate):
    broken = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), variables)
    with pytest.raises(EvaluationError, match="embeddings are not finite"):
        evaluate(broken)


def test_it_ends_when_it_is_asked_to(town, variables, evaluate):
    asked = []

    def stop_at(count):
        asked.clear()
        return lambda: bool(asked.append(1)) or len(asked) == count

    evaluate(variables, stop_at(-1))
    images = {
        "tiles": np.concatenate([split.tiles for split in town.splits.evaluations.values()]),
        "panoramas": np.concatenate([split.panoramas for split in town.splits.evaluations.values()]),
    }
    batches = sum(len(np.unique(rows)) / 13 for rows in images.values())
    assert batches / 2 < len(asked) - len(town.splits.evaluations) <= batches + 2  # of 13 images, or of 16
    for count in (1, len(asked)):  # the first batch, the last split
        with pytest.raises(EvaluationStopped):
            evaluate(variables, stop_at(count))
        assert len(asked) == count


def test_with_symmetries_the_similarity_and_the_offset_are_means_over_jointly_turned_images(town, town_config):
    head = {"model.offset_head": "regression", "loss.offset_weight": 0.01}
    task = tasks.create(town_config(**head, **{"eval_symmetries": True}))
    variables = jax.device_get(task.init(jax.random.key(3)))
    evaluated = task.evaluate(variables, meshes.data_mesh(jax.devices()[:2]))
    model = CrossViewModel(
        aggregation="safa",
        backbone="vgg11",
        width=0.05,
        num_heads=2,
        centre_descriptor=True,
        final_pool=False,
        offset_outputs=2,
    )
    split = town.splits.evaluations["validation"]
    found = evaluated.findings["validation/top5"][:, 0]
    encode = jax.jit(lambda *images: model.apply(variables, *images, train=False))
    embed = jax.jit(lambda images: model.apply(variables, images, "aerial", method="encode").embedding)
    similarity, offset = 0, 0
    for turned in (augmentation.Augmentation(turns, mirror) for mirror in (False, True) for turns in range(4)):
        tiles = np.stack([turned.tile(image(town.data.aerial, row)) for row in split.tiles])
        retrieved = np.stack([turned.tile(image(town.data.aerial, row)) for row in found])
        panoramas = np.stack([turned.panorama(image(town.data.ground, row)) for row in split.panoramas])
        pairs = encode(retrieved, panoramas)
        similarity = similarity + np.asarray(pairs.ground, np.float64) @ np.asarray(embed(tiles), np.float64).T
        # A turn of offsets is a matrix.
        unit = np.array([[1.0, 0.0], [0.0, 1.0]])
        offset = offset + np.asarray(pairs.offset) @ np.linalg.inv(turned.offset(unit)) / 8
    positive = similarity[np.arange(len(split.panoramas)), split.references[:, 0]]
    ranks = (similarity >= positive[:, None]).sum(axis=1) - 1
    np.testing.assert_array_equal(evaluated.findings["validation/rank"], ranks)
    np.testing.assert_allclose(evaluated.findings["validation/offset_px"], 320 * offset, rtol=1e-3, atol=0.01)


def great_circle_m(a, b):
    """Of two (lat, lon) in degrees, by the law of haversines."""
    (lat_a, lon_a), (lat_b, lon_b) = np.radians(a), np.radians(b)
    half = np.sin((lat_b - lat_a) / 2) ** 2 + np.cos(lat_a) * np.cos(lat_b) * np.sin((lon_b - lon_a) / 2) ** 2
    return 2 * 6_371_004 * np.arcsin(np.sqrt(half))


@pytest.mark.parametrize(("head", "devices"), [("regression", 1), ("classification", 8)])
def test_every_query_is_placed_on_its_first_tile_by_the_offset_head(town, town_config, head, devices):
    task = tasks.create(town_config(**{"model.offset_head": head, "loss.offset_weight": 0.01}))
    variables = jax.device_get(task.init(jax.random.key(2)))
    evaluated = task.evaluate(variables, meshes.data_mesh(jax.devices()[:devices]))
    outputs = {"regression": 2, "classification": 100}[head]
    model = CrossViewModel(
        aggregation="safa",
        backbone="vgg11",
        width=0.05,
        num_heads=2,
        centre_descriptor=True,
        final_pool=False,
        offset_outputs=outputs,
    )
    predict = jax.jit(lambda *images: model.apply(variables, *(i[None] for i in images), train=False).offset[0])
    offsets, errors = [], []
    for name, split in town.splits.evaluations.items():
        found = {
            key.removeprefix(f"{name}/"): value for key, value in evaluated.findings.items() if key.startswith(name)
        }
        np.testing.assert_array_equal(found["panorama"], split.panoramas)
        assert found["top5"].shape == (len(split.panoramas), 5)
        assert np.isin(found["top5"], split.tiles).all()
        hits = found["top5"][:, 0] == town.data.panoramas.references[split.panoramas, 0]
        np.testing.assert_array_equal(hits, found["rank"] == 0)
        for query in range(0, len(split.panoramas), 9):
            panorama, tile = split.panoramas[query], found["top5"][query, 0]
            expected = predict(image(town.data.aerial, tile), image(town.data.ground, panorama))
            if head == "classification":
                row, column = divmod(int(np.argmax(expected)), 10)
                # The centres of ten cells over 192 px to each side of the tile's centre, from the north-west.
                expected = np.array([-172.8 + 38.4 * row, 172.8 - 38.4 * column]) / 320
            np.testing.assert_allclose(found["offset_px"][query], 320 * expected, rtol=1e-4, atol=1e-3)
            # 640 px of zoom 20 at the tile's latitude.
            metres_per_px = 2 * np.pi * 6_371_004 * np.cos(np.radians(town.data.tiles.lat[tile])) / (256 * 2**20)
            degrees = np.degrees(metres_per_px * found["offset_px"][query] / 6_371_004)
            lat = town.data.tiles.lat[tile] - degrees[0]
            lon = town.data.tiles.lon[tile] - degrees[1] / np.cos(np.radians(lat))
            truth = town.data.panoramas.lat[panorama], town.data.panoramas.lon[panorama]
            centre = town.data.tiles.lat[tile], town.data.tiles.lon[tile]
            np.testing.assert_allclose(found["error_m"][query], great_circle_m(truth, (lat, lon)), rtol=1e-3, atol=0.01)
            np.testing.assert_allclose(found["centre_error_m"][query], great_circle_m(truth, centre), rtol=1e-5)
            offsets.append(expected)
        for prefix, key in (("", "error_m"), ("centre_", "centre_error_m")):
            distances = found[key].astype(np.float64)
            assert evaluated.metrics[f"{name}/{prefix}median_m"] == pytest.approx(np.median(distances), rel=1e-5)
            assert evaluated.metrics[f"{name}/{prefix}mean_m"] == pytest.approx(np.mean(distances), rel=1e-5)
            for limit in (5, 10, 25, 50):
                assert evaluated.metrics[f"{name}/{prefix}within_{limit}m"] == np.mean(distances < limit)
            if hits.any():
                median = evaluated.metrics[f"{name}/{prefix}found_median_m"]
                assert median == pytest.approx(np.median(distances[hits]), rel=1e-5)
        fixed = evaluated.metrics[f"{name}/fixed_resolution_median_m"]
        assert fixed != evaluated.metrics[f"{name}/median_m"]
        assert fixed == pytest.approx(evaluated.metrics[f"{name}/median_m"], rel=0.2)
        errors.append(found["error_m"])
    assert np.std(offsets) > 0.01  # in halves of a tile: the head's outputs are not all alike
    assert np.std(np.concatenate(errors)) > 1


def test_assisted_navigation_searches_around_the_query(town, variables, embedded_one_by_one, evaluate):
    metrics = evaluate(variables)
    aerial, ground = embedded_one_by_one
    for name, split in town.splits.evaluations.items():
        lat, lon = town.data.panoramas.lat[split.panoramas], town.data.panoramas.lon[split.panoramas]
        tile_lat, tile_lon = town.data.tiles.lat[split.tiles], town.data.tiles.lon[split.tiles]
        noisy = windows.noisy_positions(lat, lon, seed=0)
        ranks, sizes = [], []
        for query, panorama in enumerate(split.panoramas):
            metre = np.pi / 180 * 6_371_004
            north = (tile_lat - noisy[0][query]) * metre
            east = (tile_lon - noisy[1][query]) * metre * np.cos(np.radians(noisy[0][query]))
            window = np.flatnonzero((np.abs(north) <= 200) & (np.abs(east) <= 200))
            own = split.references[query, 0]
            scores = aerial[split.tiles] @ ground[panorama]
            ranks.append(sum(scores[tile] >= scores[own] for tile in window if tile != own))
            sizes.append(len(window))
        assert metrics[f"{name}/assisted_window"] == np.mean(sizes)
        assert metrics[f"{name}/assisted_top1"] == np.mean(np.array(ranks) < 1)
        assert metrics[f"{name}/assisted_top5"] == np.mean(np.array(ranks) < 5)
