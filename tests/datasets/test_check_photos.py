"""What the check says of labelled images: counts, and every unreadable file at once."""

import subprocess
import sys

import numpy as np
import pytest
import simplejpeg

from vigor_jax.datasets import __main__ as command


def test_counts_of_every_class_and_split(tmp_path, write_photos, capsys):
    write_photos(tmp_path, {"train/apple": 3, "train/pear": 1, "val/apple": 2})
    assert command.main(["check", "--data=image_folders", f"--root={tmp_path}"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for line in (["train", "validation"], ["apple", "3", "2"], ["pear", "1", "0"], ["all", "4", "2"]):
        assert line in lines
    assert ["sizes:", "6", "of", "24x36"] in lines


@pytest.mark.parametrize(("images", "found"), [("none", 0), ("headers", 2), ("full", 3)])
def test_every_unreadable_file_is_listed_at_once(tmp_path, write_photos, make_photo, capsys, images, found):
    write_photos(tmp_path / "x", {"a": 4, "b": 2})
    (tmp_path / "x/a/001.jpg").write_bytes(b"")
    (tmp_path / "x/b/000.jpg").write_bytes(make_photo(1)[:-300])
    (tmp_path / "x/a/003.jpg").write_bytes(make_photo(1)[:-300] + b"\xff\xd9")  # seen when it is decoded
    listed = tmp_path / "list.txt"
    command_line = ["check", "--data=image_folders", f"--root={tmp_path / 'x'}", f"--images={images}"]
    assert command.main([*command_line, f"--list={listed}"]) == (1 if found else 0)
    output = capsys.readouterr().out
    assert (f"WRONG: {found} damaged" in output) == bool(found)
    bad = [line.split(": ")[0] for line in listed.read_text().splitlines()]
    expected = ["a/001.jpg", "a/003.jpg", "b/000.jpg"] if images == "full" else ["a/001.jpg", "b/000.jpg"]
    assert bad == ([str(tmp_path / "x" / name) for name in expected] if found else [])


def test_what_preparing_converts_is_counted(tmp_path, write_photos, capsys):
    write_photos(tmp_path, {"a": 2})
    grey = simplejpeg.encode_jpeg(np.zeros((8, 8, 1), np.uint8), colorspace="GRAY")
    (tmp_path / "a/grey.jpg").write_bytes(grey)
    assert command.main(["check", "--data=image_folders", f"--root={tmp_path}", "--images=full"]) == 0
    assert "1 are greyscale: preparing makes them RGB" in capsys.readouterr().out


def test_nothing_there_is_said(tmp_path, capsys):
    assert command.main(["check", "--data=grocery", f"--root={tmp_path / 'no.zip'}"]) == 2
    assert "it names the .zip itself" in capsys.readouterr().err


def test_prepare_of_a_classification_config(tmp_path, write_photos, capsys):
    write_photos(tmp_path / "x", {"train/a": 2, "train/b": 2, "val/a": 1, "test/a": 1})
    (tmp_path / "config.py").write_text(
        "import ml_collections\n"
        "def get_config():\n"
        "    images = {'name': 'image_folders', 'crop': 8, 'scales': (8, 8)}\n"
        "    classifier = {'backbone': 'vgg11', 'test_scales': (8,)}\n"
        "    return ml_collections.ConfigDict({'name': 'x', 'task': 'classification', 'epochs': 1, 'images': images,"
        " 'classifier': classifier, 'batch': {'size': 2}})\n"
    )
    flags = [f"--config.images.root={tmp_path / 'x'}", f"--config.images.data_dir={tmp_path / 'p'}"]
    done = subprocess.run(
        [sys.executable, "-m", "vigor_jax.datasets", "prepare", f"--config={tmp_path / 'config.py'}", *flags],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "2 classes, 4 train, 1 validation, 1 test images" in done.stdout
