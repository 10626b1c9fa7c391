"""Finished runs, fabricated: on two small cities of coloured noise, and on a few images of classes."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vigor_jax import config as configs
from vigor_jax import datasets, geometry
from vigor_jax.datasets import image_codec
from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.report.class_findings import ClassFindings
from vigor_jax.report.geolocation_findings import GeolocationFindings
from vigor_jax.report.query_findings import Findings
from vigor_jax.workdir import findings as stored

STEPS, EPOCHS = 12, 3
SPLITS = ("validation", "cross_area")
METRICS = {
    "top1": 0.25,
    "top5": 0.5,
    "hit_rate": 0.375,
    "median_m": 7.5,
    "within_10m": 0.625,
    "queries": 24.0,
    "gallery": 30.0,
    "chance_top1": 1 / 30,
    "mean_colour_top1": 0.1,
    "colour_histogram_top1": 0.15,
    "centre_median_m": 21.0,
    "centre_within_10m": 0.125,
}


def write_findings(workdir: Path, step: int, splits: dict[str, Findings]) -> Path:
    """As the trainer writes what an evaluation found."""
    arrays = {
        f"{split}/{name}": value
        for split, found in splits.items()
        for name, value in dataclasses.asdict(found).items()
        if value is not None
    }
    return stored.write(workdir, step, arrays)


@pytest.fixture(scope="session", name="write_findings")
def write_findings_fixture() -> Callable[..., Path]:
    """`(workdir, step, {split: Findings}) -> path`."""
    return write_findings


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """What was put into the workdir."""

    workdir: Path
    data: CrossViewData
    found: dict[str, Findings]


@pytest.fixture(scope="session")
def report_config(tmp_path_factory, write_mini_vigor) -> configs.Config:
    folder = tmp_path_factory.mktemp("report")
    write_mini_vigor(folder / "VIGOR", rows=5, columns=6, panoramas=24, trains=16, noise=40)
    tree = {
        "name": "fabricated <run>",
        "task": "cross_view",
        "epochs": EPOCHS,
        "data": {
            "name": "vigor",
            "root": str(folder / "VIGOR"),
            "data_dir": str(folder / "prepared"),
            "train_cities": ("Seattle",),
            "test_cities": ("Chicago",),
            "protocols": ("cross_area",),
            "aerial_size": (64, 64),
            "ground_size": (64, 128),
        },
        "model": {"aggregation": "safa"},
        "batch": {"size": 8},
    }
    return configs.parse(tree)


@pytest.fixture(scope="session")
def report_data(report_config) -> CrossViewData:
    return datasets.load(report_config.data, report_config.rendered_city)


@pytest.fixture(scope="session")
def make_findings(report_data) -> Callable[..., Findings]:
    """`(city, offsets=True) -> Findings` of every panorama of a city, as a mediocre model would have found them."""

    def make(city: str, *, offsets: bool = True) -> Findings:
        data = report_data
        rng = np.random.default_rng(data.cities.index(city))
        panoramas = np.flatnonzero(data.panoramas.city == data.cities.index(city)).astype(np.int32)
        tiles = np.flatnonzero(data.tiles.city == data.cities.index(city))
        top5 = np.stack([rng.choice(tiles, 5, replace=False) for _ in panoramas]).astype(np.int32)
        rank = rng.integers(1, 25, len(panoramas)).astype(np.int32)
        for query, panorama in enumerate(panoramas):
            if query % 2 == 0:
                four = data.panoramas.references[panorama]
                top5[query] = [*four, next(tile for tile in tiles if tile not in four)]
                rank[query] = 0
        lat, lon = data.panoramas.lat[panoramas], data.panoramas.lon[panoramas]
        first = data.tiles.lat[top5[:, 0]], data.tiles.lon[top5[:, 0]]
        offset = rng.uniform(-200, 200, (len(panoramas), 2)).astype(np.float32)
        found = Findings(panoramas, top5, rank, geometry.great_circle_m(lat, lon, *first).astype(np.float32))
        if offsets:
            predicted = geometry.locate(*first, offset)
            error = geometry.great_circle_m(lat, lon, *predicted).astype(np.float32)
            found = dataclasses.replace(found, offset_px=offset, error_m=error)
        return found

    return make


@pytest.fixture
def write_run(report_config, report_data, make_findings) -> Callable[..., FinishedRun]:
    """`(workdir, offsets=True, found=None) -> FinishedRun`."""

    def write(workdir: Path, *, offsets: bool = True) -> FinishedRun:
        workdir.mkdir(exist_ok=True)
        measured = {name: value for name, value in METRICS.items() if offsets or name not in ("median_m", "within_10m")}
        metrics = {f"{split}/{name}": value for split in SPLITS for name, value in measured.items()}
        summary = {
            "config": configs.to_dict(report_config),
            "steps": STEPS,
            "metrics": metrics,
            "selection_metric": "validation/top1",
            "best": {"step": 8, "metrics": metrics},
            "throughput": {"examples_per_s": 123.456, "step_ms": None, "device_kind": "abacus"},
            "memory": {"host_memory_peak_gib": 3.256789},
            "versions": {"python": "3.99", "jax": "0.99"},
        }
        (workdir / "summary.json").write_text(json.dumps(summary))
        rows = []
        for step in range(1, STEPS + 1):
            rows.append({"step": step, "train/loss": 1 / step, "train/grad_norm": 2.0 * step})
            if step % (STEPS // EPOCHS) == 0:
                epoch = step * EPOCHS // STEPS
                rows.append(
                    {"step": step, "epoch": epoch} | {key: value * epoch / EPOCHS for key, value in metrics.items()}
                )
        (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        found = {
            "validation": make_findings("Seattle", offsets=offsets),
            "cross_area": make_findings("Chicago", offsets=offsets),
        }
        write_findings(workdir, STEPS, found)
        return FinishedRun(workdir, report_data, found)

    return write


CLASSES = ("a <b>", "pear", "plum", "fig", "unseen")


@pytest.fixture(scope="session")
def class_data() -> LabelledImages:
    """Twenty images of noise, of which twelve train, six are tested, and none is of the last class."""
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 2] * 4 + [0, 0, 1, 1, 2, 3] + [0, 1], np.int32)
    rows = np.arange(20)
    return LabelledImages(
        name="noise",
        names=[f"{CLASSES[label]}/{row}.jpg" for row, label in enumerate(labels)],
        labels=labels,
        class_names=CLASSES,
        images=[image_codec.encode_jpeg(rng.integers(0, 255, (24, 32, 3), np.uint8)) for _ in rows],
        sizes=np.full((20, 2), (24, 32), np.int32),
        train=rows[:12],
        validation=rows[18:],
        test=rows[12:18],
        fingerprint="noise",
    )


@pytest.fixture(scope="session")
def class_found() -> ClassFindings:
    """Of the test: one of the first class and one of the second are right, two of the others are taken for a pear."""
    return ClassFindings(
        row=np.arange(12, 18),
        label=np.array([0, 0, 1, 1, 2, 3], np.int32),
        probable=np.array([[0, 1], [1, 0], [1, 2], [2, 1], [1, 0], [1, 3]], np.int32),
        probability=np.array([[0.9, 0.1], [0.6, 0.3], [0.8, 0.1], [0.5, 0.4], [0.7, 0.2], [0.5, 0.25]], np.float32),
    )


def write_image_run(
    workdir: Path, task: str, found: ClassFindings | GeolocationFindings, metrics: dict[str, float]
) -> Path:
    """What a finished run of one of the tasks on images leaves, whose only split is the test."""
    config = configs.parse(
        {
            "name": "fabricated",
            "task": task,
            "epochs": EPOCHS,
            "images": {"name": "image_folders"},
            "classifier": {"backbone": "mobilenet_0.25"},
            "batch": {"size": 4},
        }
        | ({"geocells": {}} if task == "geolocation" else {})
    )
    metrics = {f"test/{name}": value for name, value in metrics.items()}
    summary = {
        "config": configs.to_dict(config),
        "steps": STEPS,
        "metrics": metrics,
        "throughput": {"examples_per_s": 1.0},
        "versions": {"jax": "0.99"},
    }
    (workdir / "summary.json").write_text(json.dumps(summary))
    (workdir / "metrics.jsonl").write_text(json.dumps({"step": STEPS, "epoch": EPOCHS, **metrics}) + "\n")
    stored.write(workdir, STEPS, {f"test/{name}": value for name, value in dataclasses.asdict(found).items()})
    return workdir


@pytest.fixture
def write_class_run(class_found) -> Callable[..., Path]:
    """`(workdir) -> workdir` of a finished classifier."""
    metrics = {"top1": 1 / 3, "images": 6.0, "chance_top1": 0.2, "pixel_neighbour_top1": 0.125}
    return lambda workdir: write_image_run(workdir, "classification", class_found, metrics)


@pytest.fixture(scope="session")
def photo_data(class_data) -> LabelledImages:
    """The twenty images, taken all over the globe; none is divided into cells yet."""
    rng = np.random.default_rng(1)
    return dataclasses.replace(
        class_data,
        labels=np.zeros(20, np.int32),
        class_names=("photo",),
        lat=rng.uniform(-80, 80, 20),
        lon=rng.uniform(-180, 180, 20),
    )


@pytest.fixture(scope="session")
def placed_found(photo_data) -> GeolocationFindings:
    """Of the test's six photos, the first is placed some 2 km off; the last was taken in no cell."""
    rows = np.arange(12, 18)
    lat, lon = photo_data.lat[rows], photo_data.lon[rows]
    placed_lat = lat + np.array([0.02, 0.5, -1, 3, -8, 9])
    return GeolocationFindings(
        row=rows,
        label=np.array([7, 7, 8, 9, 6, -1], np.int32),
        probable=np.array([[7, 8], [8, 7], [8, 6], [6, 7], [6, 9], [9, 6]], np.int32),
        probability=np.array([[0.9, 0.1], [0.6, 0.3], [0.8, 0.1], [0.5, 0.4], [0.7, 0.2], [0.5, 0.25]], np.float32),
        placed_lat=placed_lat,
        placed_lon=lon,
        error_km=geometry.great_circle_m(lat, lon, placed_lat, lon) / 1000,
        chance_km=geometry.great_circle_m(lat, lon, 48.1, 11.6) / 1000,
    )


@pytest.fixture
def write_geolocation_run(placed_found) -> Callable[..., Path]:
    """`(workdir) -> workdir` of a finished geolocation run."""
    metrics = {"top1": 0.5, "within_25km": 1 / 6, "median_km": 222.4, "images": 6.0, "chance_within_25km": 0.0}
    return lambda workdir: write_image_run(workdir, "geolocation", placed_found, metrics)
