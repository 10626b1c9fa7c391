"""Fusion of classifiers, from its command: the mean by hand, and what it refuses."""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax import datasets, tasks
from vigor_jax.datasets.image_codec import decode, encode_png
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.input import image_crops
from vigor_jax.models import registry
from vigor_jax.models.classifier import classifier
from vigor_jax.models.preprocessing import preprocess
from vigor_jax.models.vgg import VGG, VGGHead
from vigor_jax.parallel import mesh as meshes
from vigor_jax.studies import fusion
from vigor_jax.workdir import finished_run
from vigor_jax.workdir.finished_run import FinishedRun

CLASSES = tuple("abcdefg")
# Of the runs: crop, and where their images lie.
RUNS = {"one": (32, "here"), "other": (36, "there")}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A backbone that compiles in little time."""
    make, head = functools.partial(VGG, "A", width=1 / 16), functools.partial(VGGHead, width=1 / 64)
    entry = registry.BackboneEntry(make, head, 32, "torchvision", dropout=0.5, fully_connected_stride=32)
    monkeypatch.setitem(registry.BACKBONES, "tiny", entry)


@pytest.fixture(scope="module")
def data() -> LabelledImages:
    rng = np.random.default_rng(0)
    rows = np.arange(12)
    pixels = [np.kron(rng.integers(256, size=(10, 12, 3)), np.ones((4, 4, 1))).astype(np.uint8) for _ in rows]
    return LabelledImages(
        name="noise",
        names=[f"{row}.png" for row in rows],
        labels=rng.integers(0, 7, 12).astype(np.int32),
        class_names=CLASSES,
        images=[encode_png(image) for image in pixels],
        sizes=np.full((12, 2), (40, 48), np.int32),
        train=rows[:3],
        validation=rows[3:7],
        test=rows[7:],
        fingerprint="noise",
    )


@pytest.fixture
def runs(monkeypatch, data):
    """`{name: FinishedRun}`, which the command finds; and their data by root, which a test may exchange."""
    found, by_root = {}, {"here": data, "there": data}
    for number, (name, (crop, root)) in enumerate(RUNS.items()):
        config = tasks.parse(
            {
                "name": name,
                "task": "classification",
                "epochs": 1,
                "images": {"name": "image_folders", "root": root, "crop": crop, "scales": (40, 40)},
                "classifier": {"backbone": "tiny", "dtype": "float32", "test_scales": (crop + 2,)},
                "optimizer": {"learning_rate": 1e-3},
                "batch": {"size": 2},
                "eval_batch_size": 4,
                "input_threads": 2,
            }
        )
        model = classifier("tiny", 7, image_size=crop)
        variables = jax.jit(model.init)(jax.random.key(number), jnp.zeros((1, crop, crop, 3)))
        found[name] = FinishedRun(Path(name), config, 7, 1, {}, jax.tree.map(np.asarray, variables))
    monkeypatch.setattr(finished_run, "read", lambda workdir, parse: found[str(workdir)])
    monkeypatch.setattr(datasets, "load_images", lambda images, rendered_city, **_: by_root[images.root])
    return found, by_root


def by_hand(run, data, rows) -> np.ndarray:
    crop, model = run.config.images.crop, classifier("tiny", 7, image_size=run.config.images.crop)
    probabilities = []
    for row in rows:
        scaled = image_crops.scale_to(decode(data.images[row], "x"), crop + 2)
        image = image_crops.centre(scaled, (crop, crop))[None]
        probabilities.append(jax.nn.softmax(model.apply(run.variables, preprocess(image, "torchvision"))[0]))
    return np.stack(probabilities)


def accuracy(labels, probabilities) -> dict[str, float]:
    ranks = [int((row > row[label]).sum()) for label, row in zip(labels, probabilities, strict=True)]
    return {"top1": np.mean([rank < 1 for rank in ranks]), "top5": np.mean([rank < 5 for rank in ranks])}


def test_the_fusion_is_the_mean_by_hand(run_command, runs, data, tmp_path, capsys):
    found, _ = runs
    written = tmp_path / "fusion.json"
    assert run_command("fuse", "one", "other", f"--json={written}") == 0
    figures = json.loads(written.read_text())
    together = {}
    for split, rows in data.splits.items():
        one, other = (by_hand(found[name], data, rows) for name in RUNS)
        assert abs(one - other).max() > 0.05
        for of_run, probabilities in zip(figures["runs"], (one, other), strict=True):
            expected = accuracy(data.labels[rows], probabilities)
            assert {name: of_run["metrics"][f"{split}/{name}"] for name in expected} == expected
        together |= {f"{split}/{k}": v for k, v in accuracy(data.labels[rows], (one + other) / 2).items()}
    assert figures["fusion"] == together
    assert figures["images"] == {"validation": 4, "test": 5}
    assert [(run["workdir"], run["step"], run["crop"]) for run in figures["runs"]] == [("one", 7, 32), ("other", 7, 36)]
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in cells[2:]] == ["one", "other", "mean of all"]
    assert cells[0][4:] == ["validation top-1", "validation top-5", "test top-1", "test top-5"]
    assert cells[-1][4:] == [f"{100 * value:.1f}" for value in together.values()]


def test_probabilities_are_averaged_and_not_answers(runs, data, monkeypatch):
    """One run that is sure outweighs two that waver."""
    members = [fusion.read(Path(name)) for name in ("one", "other", "one")]
    right = data.labels

    def sure(share):
        def testing(variables, rows, mesh, should_stop):
            probabilities = np.full((len(rows), 7), (1 - share) / 6, np.float32)
            probabilities[np.arange(len(rows)), right[rows]] = share
            return probabilities

        return testing

    members = [dataclasses.replace(m, testing=sure(s)) for m, s in zip(members, (0.9, 0.1, 0.1), strict=True)]
    found = fusion.fuse(members, meshes.data_mesh(jax.devices()[:1]))
    assert [metrics["test/top1"] for metrics in found.alone] == [1, 0, 0]
    assert found.together["test/top1"] == 1


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"class_names": ("z", *CLASSES[1:])}, ["tell other classes apart", "class 0, 'a' and 'z'"]),
        ({"class_names": (*CLASSES, "h")}, ["There are 7 and 8."]),
        ({"validation": np.arange(3, 6)}, ["their validation splits hold other images", "There are 4 and 3."]),
        ({"test": np.arange(7, 12)[::-1]}, ["their test splits", "image 0, '7.png' and '11.png'"]),
        ({"test": np.arange(0)}, ["other splits"]),
        ({"labels": np.zeros(12, np.int32)}, ["in the one and 'a' in the other"]),
    ],
)
def test_runs_of_other_images_or_classes_are_refused(run_command, runs, data, capsys, changed, parts):
    _, by_root = runs
    by_root["there"] = dataclasses.replace(data, **changed)
    assert run_command("fuse", "one", "other") == 2
    error = capsys.readouterr().err
    for part in ("one and other cannot be averaged", *parts):
        assert part in error


def test_what_cannot_be_fused_is_said_first(run_command, runs, capsys, tmp_path):
    found, _ = runs
    for arguments, part in (
        (["one"], "Name two or more"),
        (["one", "other", "./one"], "named twice"),
        (["one", "other", f"--json={tmp_path}/absent/fusion.json"], "a folder that exists"),
    ):
        assert run_command("fuse", *arguments) == 2
        assert part in capsys.readouterr().err
    found["other"] = dataclasses.replace(
        found["other"], config=dataclasses.replace(found["other"].config, task="image_distillation")
    )
    assert run_command("fuse", "one", "other") == 2
    assert "other is a run of the task 'image_distillation'" in capsys.readouterr().err
