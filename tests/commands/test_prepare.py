"""`vigor-jax prepare`: what a config names is stored, and its mistakes are said."""

from pathlib import Path

import numpy as np
import pytest

from vigor_jax.datasets.image_codec import encode_png

ROOT = Path(__file__).parents[2]
PHOTOS = """\
import ml_collections

def get_config():
    return ml_collections.ConfigDict({
        "name": "x",
        "task": "classification",
        "epochs": 1,
        "images": {"name": "image_folders", "crop": 8, "scales": (8, 8)},
        "classifier": {"backbone": "vgg11", "test_scales": (8,)},
        "batch": {"size": 2},
    })
"""


@pytest.fixture
def vigor(tmp_path, write_mini_vigor):
    """The flags of a config whose data is a VIGOR of two cities."""
    root = write_mini_vigor(tmp_path / "VIGOR").root
    return [
        f"--config={ROOT / 'configs/cross_area.py'}",
        f"--config.data.root={root}",
        f"--config.data.data_dir={tmp_path / 'prepared'}",
        "--config.data.train_cities=('Seattle',)",
        "--config.data.test_cities=('Chicago',)",
        "--config.data.aerial_size=(32, 32)",
        "--config.data.ground_size=(32, 64)",
        "--config.model.final_pool=False",
    ]


def test_the_cities_of_a_config_are_stored(run_command, vigor, tmp_path, capsys):
    assert run_command("prepare", *vigor) == 0
    out, error = capsys.readouterr()
    assert out == "Seattle, Chicago: 24 tiles, 14 panoramas\n"
    assert "Preparing Seattle, aerial images: 100%" in error
    assert len(list((tmp_path / "prepared" / "vigor").glob("*/1.0.0/tables.npz"))) == 2


def test_the_photos_of_a_config_are_stored(run_command, tmp_path, capsys):
    for number, folder in enumerate(("train/a", "train/a", "train/b", "train/b", "val/a", "test/a")):
        photo = tmp_path / "photos" / folder / f"{number}.png"
        photo.parent.mkdir(parents=True, exist_ok=True)
        photo.write_bytes(encode_png(np.full((9, 12, 3), 20 * number, np.uint8)))
    (tmp_path / "config.py").write_text(PHOTOS)
    root, prepared = f"--config.images.root={tmp_path / 'photos'}", f"--config.images.data_dir={tmp_path / 'prepared'}"
    assert run_command("prepare", f"--config={tmp_path / 'config.py'}", root, prepared) == 0
    assert capsys.readouterr().out.endswith(": 2 classes, 4 train, 1 validation, 1 test images\n")


def test_data_that_is_not_there_is_said(run_command, vigor, capsys):
    assert run_command("prepare", *vigor, "--config.data.train_cities=('Boston',)") == 2
    error = capsys.readouterr().err
    assert "no city 'Boston'" in error
    assert "Traceback" not in error
