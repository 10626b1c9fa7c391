"""Photos in folders to the page of a classifier, by what a config says."""

import json
import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax import tasks
from vigor_jax.datasets.image_codec import encode_png
from vigor_jax.models import registry
from vigor_jax.models.mobilenet import MobileNetHead
from vigor_jax.train import loop

CLASSES = {"brick": (150, 70, 50), "grass": (60, 140, 50), "sky": (70, 110, 190)}


class Tiny(nn.Module):
    """A backbone that compiles in no time."""

    dtype: type = jnp.float32

    @nn.compact
    def __call__(self, images, *, train=False):
        return [nn.relu(nn.Conv(16, (4, 4), strides=4, dtype=self.dtype)(images))]


@pytest.fixture
def folders(tmp_path):
    """Sixteen photos of each class that train and four that test: noise around the colour of the class."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 4)):
        for name, colour in CLASSES.items():
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.normal(colour, 30, (*rng.integers(40, 70, 2), 3)).clip(0, 255).astype(np.uint8)
                (folder / f"{i}.png").write_bytes(encode_png(pixels))
    return tmp_path / "photos"


def test_folders_are_prepared_learnt_tested_and_shown(run_command, folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(registry.BACKBONES, "tiny", registry.BackboneEntry(Tiny, MobileNetHead, 32, "tf", 0.0))
    images = {"name": "image_folders", "root": str(folders), "data_dir": str(tmp_path / "prepared")}
    config = tasks.parse(
        {
            "name": "folders",
            "task": "classification",
            "epochs": 8,
            "images": images | {"stored_side": 40, "crop": 32, "scales": (32, 40), "validation_fraction": 0.2},
            "classifier": {"backbone": "tiny", "dtype": "float32", "test_scales": (36,)},
            "optimizer": {"learning_rate": 1e-2},
            "batch": {"size": 8},
            "evaluate_every_epochs": 8,
            "log_every_steps": 2,
            "input_threads": 2,
        }
    )
    workdir = tmp_path / "run"
    summary = loop.train_and_evaluate(config, workdir)
    metrics = summary["metrics"]
    assert metrics["test/images"] == 12
    assert 0 < metrics["validation/images"] < 20
    assert metrics["test/most_frequent_top1"] == pytest.approx(1 / 3)
    assert metrics["test/top1"] > 0.6
    losses = [json.loads(line).get("train/loss") for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    losses = [loss for loss in losses if loss is not None]
    assert losses[-1] < 0.7 * math.log(3)

    with np.load(workdir / "findings.npz") as found:
        wrong = found["test/probable"][:, 0] != found["test/label"]
    assert wrong.mean() == pytest.approx(1 - metrics["test/top1"])
    page = (workdir / "report.html").read_text()
    for title in ("What is taken for what", "The most frequent confusions", "Class by class", *CLASSES):
        assert title in page
    assert run_command("report", workdir) == 0
    assert (workdir / "report.html").read_text() == page
