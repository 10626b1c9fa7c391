"""What the check says of labelled images: counts, and every unreadable file at once."""

import numpy as np
import pytest
import simplejpeg


def test_counts_of_every_class_and_split(run_command, tmp_path, write_photos, capsys):
    write_photos(tmp_path, {"train/apple": 3, "train/pear": 1, "val/apple": 2})
    assert run_command("check", "--data=image_folders", f"--root={tmp_path}") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for line in (["train", "validation"], ["apple", "3", "2"], ["pear", "1", "0"], ["all", "4", "2"]):
        assert line in lines
    assert ["sizes:", "6", "of", "24x36"] in lines


@pytest.mark.parametrize(("images", "found"), [("none", 0), ("headers", 2), ("full", 3)])
def test_every_unreadable_file_is_listed_at_once(
    run_command, tmp_path, write_photos, make_photo, capsys, images, found
):
    write_photos(tmp_path / "x", {"a": 4, "b": 2})
    (tmp_path / "x/a/001.jpg").write_bytes(b"")
    (tmp_path / "x/b/000.jpg").write_bytes(make_photo(1)[:-300])
    (tmp_path / "x/a/003.jpg").write_bytes(make_photo(1)[:-300] + b"\xff\xd9")  # seen when it is decoded
    listed = tmp_path / "list.txt"
    command_line = ["check", "--data=image_folders", f"--root={tmp_path / 'x'}", f"--images={images}"]
    assert run_command(*command_line, f"--list={listed}") == (1 if found else 0)
    output = capsys.readouterr().out
    assert (f"WRONG: {found} damaged" in output) == bool(found)
    bad = [line.split(": ")[0] for line in listed.read_text().splitlines()]
    expected = ["a/001.jpg", "a/003.jpg", "b/000.jpg"] if images == "full" else ["a/001.jpg", "b/000.jpg"]
    assert bad == ([str(tmp_path / "x" / name) for name in expected] if found else [])


def test_what_preparing_converts_is_counted(run_command, tmp_path, write_photos, capsys):
    write_photos(tmp_path, {"a": 2})
    grey = simplejpeg.encode_jpeg(np.zeros((8, 8, 1), np.uint8), colorspace="GRAY")
    (tmp_path / "a/grey.jpg").write_bytes(grey)
    assert run_command("check", "--data=image_folders", f"--root={tmp_path}", "--images=full") == 0
    assert "1 are greyscale: preparing makes them RGB" in capsys.readouterr().out


def test_nothing_there_is_said(run_command, tmp_path, capsys):
    assert run_command("check", "--data=grocery", f"--root={tmp_path / 'no.zip'}") == 2
    assert "it names the .zip itself" in capsys.readouterr().err
