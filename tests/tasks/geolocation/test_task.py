"""Geolocation: cells of the training photos alone, photos outside of them, and metres against a loop."""

import dataclasses
import functools
from functools import partial

import jax
import numpy as np
import pytest

from vigor_jax import config as configs
from vigor_jax import geometry, report, tasks
from vigor_jax.config import ConfigError
from vigor_jax.datasets.image_codec import encode_png
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.geocells import Cells
from vigor_jax.models import registry
from vigor_jax.models.mobilenet import MobileNet, MobileNetHead
from vigor_jax.parallel import mesh as meshes
from vigor_jax.tasks.geolocation import report as geolocation_report
from vigor_jax.tasks.geolocation.task import CELLS_FILE, Geolocation
from vigor_jax.train import loop

pytest.importorskip("s2geometry", reason="s2geometry has no wheels for this platform")

TOWNS = ((48.1, 11.6), (40.7, -74.0), (-33.9, 151.2))


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A backbone that compiles in little time."""
    make = functools.partial(MobileNet, width=0.25, shallow=True)
    monkeypatch.setitem(registry.BACKBONES, "tiny", registry.BackboneEntry(make, MobileNetHead, 32, "tf", 0.0))


@pytest.fixture(scope="module")
def data() -> LabelledImages:
    """Three towns, each with a colour of its own; two training photos and one test photo lie elsewhere."""
    rng = np.random.default_rng(0)
    town = rng.integers(0, 3, 60)
    lat, lon = (np.array(TOWNS)[town] + rng.normal(0, 0.002, (60, 2))).T
    for row, elsewhere in ((3, (64.1, -21.9)), (20, (1.3, 103.8)), (59, (19.4, -99.1))):
        lat[row], lon[row] = elsewhere
    images = []
    for own in town:
        pixels = rng.normal(100, 40, (32, 32, 3))
        pixels[..., own] += 60
        images.append(encode_png(pixels.clip(0, 255).astype(np.uint8)))
    rows = np.arange(60)
    return LabelledImages(
        name="towns",
        names=[f"{row}.png" for row in rows],
        labels=np.zeros(60, np.int32),
        class_names=("photo",),
        images=images,
        sizes=np.full((60, 2), 32, np.int32),
        train=rows[:40],
        validation=rows[40:50],
        test=rows[50:],
        lat=lat,
        lon=lon,
        fingerprint="towns",
    )


def config_of(place_at="most_probable") -> configs.Config:
    return tasks.parse(
        {
            "name": "towns",
            "task": "geolocation",
            "epochs": 8,
            "images": {"name": "photo_positions", "crop": 32, "scales": (32, 32), "mirror": False},
            "classifier": {"backbone": "tiny", "norm_momentum": 0.8, "dtype": "float32", "test_scales": (32,)},
            "geocells": {"most": 10, "fewest": 3, "deepest": 6, "place_at": place_at},
            "optimizer": {"learning_rate": 3e-3},
            "batch": {"size": 8},
            "evaluate_every_epochs": 8,
            "eval_batch_size": 8,
            "input_threads": 2,
        }
    )


def test_cells_are_of_training_photos_and_what_lies_in_none_trains_nothing(data):
    task = Geolocation(config_of(), data)
    assert task.cells.dropped_photos == 2
    assert task.cells.photos.sum() == 38
    assert task.steps_per_epoch == 38 // 8
    batches = task.batches(0)
    cells = np.concatenate([next(batches)["label"] for _ in range(2 * task.steps_per_epoch)])
    batches.close()
    assert set(cells.tolist()) == set(range(len(task.cells.photos)))  # and no -1, which is that of photos in none
    # Another partition is another run.
    fewer = dataclasses.replace(config_of(), geocells=dataclasses.replace(config_of().geocells, fewest=1))
    assert Geolocation(fewer, data).fingerprint["cells"] != task.fingerprint["cells"]


def test_the_step_reads_all_that_is_put_on_the_devices(data, batch_keys):
    yielded, read = batch_keys(Geolocation(config_of(), data))
    assert yielded == read == {"image", "label"}


def test_a_run_places_photos_and_leaves_its_cells(data, tmp_path, monkeypatch):
    monkeypatch.setattr("vigor_jax.tasks.create", lambda config, resolved: Geolocation(config, data))
    summary = loop.train_and_evaluate(config_of(), tmp_path)
    metrics = summary["metrics"]
    cells = Cells.load(tmp_path / CELLS_FILE)
    with np.load(tmp_path / "findings.npz") as findings:
        found = {name.removeprefix("test/"): findings[name] for name in findings if name.startswith("test/")}
    rows = found["row"]
    within = 0
    for photo, (row, cell) in enumerate(zip(rows, found["probable"][:, 0], strict=True)):
        off = geometry.great_circle_m(data.lat[row], data.lon[row], cells.lat[cell], cells.lon[cell])
        within += off <= 750_000
        assert (found["placed_lat"][photo], found["placed_lon"][photo]) == (cells.lat[cell], cells.lon[cell])
        assert found["error_km"][photo] == pytest.approx(off / 1000)
        most = int(np.argmax(cells.photos))
        chance = geometry.great_circle_m(data.lat[row], data.lon[row], cells.lat[most], cells.lon[most])
        assert found["chance_km"][photo] == pytest.approx(chance / 1000)
    assert metrics["test/within_750km"] == pytest.approx(within / len(rows))
    assert 0.6 <= metrics["test/within_750km"] <= metrics["test/covered"] == 0.9  # one lies in no cell
    assert metrics["test/pixel_neighbour_within_750km"] <= 0.9
    assert "test/pixel_neighbour_chance_within_25km" not in metrics
    assert metrics["test/median_km"] == pytest.approx(np.median(found["error_km"]))
    assert metrics["test/chance_median_km"] == pytest.approx(np.median(found["chance_km"]))
    assert (found["label"] == -1).sum() == 1
    assert "Photos and where they were placed" in (tmp_path / "report.html").read_text()
    # Made again, as `vigor-jax report` does, of the data as they are without cells.
    page = (tmp_path / "report.html").read_bytes()
    assert report.write(tmp_path, partial(geolocation_report.content, data=data)).read_bytes() == page


def test_the_mean_of_the_cells_is_another_place(data):
    mesh = meshes.data_mesh(jax.devices()[:1])
    evaluated = {}
    for place_at in ("most_probable", "mean"):
        task = Geolocation(config_of(place_at), data)
        evaluated[place_at] = task.evaluate(task.init(jax.random.key(0)), mesh)
    medians = {place_at: each.metrics["test/median_km"] for place_at, each in evaluated.items()}
    assert medians["mean"] != medians["most_probable"]
    # The findings are of the same place as the metrics.
    for place_at, each in evaluated.items():
        assert np.median(each.findings["test/error_km"]) == pytest.approx(medians[place_at])


def test_a_data_set_without_positions_is_refused(data):
    without = dataclasses.replace(data, lat=np.zeros(0), lon=np.zeros(0))
    with pytest.raises(ConfigError, match="does not say where its photos were taken"):
        Geolocation(config_of(), without)
