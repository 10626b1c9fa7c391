import shutil
import tarfile

import cv2
import numpy as np
import pytest
import simplejpeg

from vigor_jax import datasets
from vigor_jax.config import RenderedCityConfig
from vigor_jax.datasets import check, image_codec
from vigor_jax.datasets.image_codec import ImageError

FOLDER = {"aerial": "satellite", "ground": "panorama"}


def test_counts_of_the_published_archive(run_command, vigor_label_archive, tmp_path, capsys):
    with tarfile.open(vigor_label_archive) as archive:
        archive.extractall(tmp_path, filter="data")
    root = tmp_path / "vigor_labels"
    assert run_command("check", f"--root={root}", "--images=none") == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if "/" in line}
    assert rows["Chicago"] == ["22,308/22,308", "12,740/12,740", "12,739/12,739", "25,479/25,479"]
    assert rows["NewYork"] == ["23,279/23,279", "13,885/13,885", "13,884/13,884", "27,769/27,769"]
    assert rows["SanFrancisco"] == ["24,255/24,255", "0/14,108", "0/14,107", "0/28,215"]
    assert rows["Seattle"] == ["20,776/20,776", "11,876/11,876", "11,875/11,875", "23,751/23,751"]
    assert rows["all"] == ["90,618/90,618", "38,501/52,609", "38,498/52,605", "76,999/105,214"]
    assert rows["cross-area"][-2:] == ["25,479/53,694", "panoramas"]


def test_labels_without_images(run_command, write_vigor, capsys):
    mini = write_vigor()
    for city in ("Seattle", "Chicago"):
        shutil.rmtree(mini.root / city)
    (mini.root / "splits__corrected/Chicago/same_area_balanced_train__corrected.txt").unlink()
    (mini.root / "splits__corrected/Chicago/same_area_balanced_test__corrected.txt").unlink()
    assert run_command("check", f"--root={mini.root}", "--images=none") == 0
    assert "Chicago: no panorama labels" in capsys.readouterr().out
    # With the images asked for, labels alone are not enough.
    assert run_command("check", f"--root={mini.root}") == 1
    printed = capsys.readouterr().out
    assert "no aerial images of Seattle" in printed
    assert "no aerial images of Chicago" not in printed  # published without panoramas: nothing to train with anyway


@pytest.mark.parametrize("images", ["none", "headers", "full"])
@pytest.mark.parametrize("layout", ["vigor", "by_view"])
def test_a_sound_subset(run_command, write_vigor, capsys, layout, images):
    mini = write_vigor(layout=layout)
    assert run_command("check", f"--root={mini.root}", f"--images={images}") == 0
    printed = capsys.readouterr().out
    assert "12/20,776" in printed
    assert "4/11,876" in printed
    assert "a subset of what was published" in printed
    if images != "none":
        assert "12 of 64x64" in printed
        assert "7 of 64x128" in printed


def test_missing_and_damaged_images_are_named(run_command, write_vigor, tmp_path, capsys):
    mini = write_vigor()
    satellite, panorama = mini.root / "Seattle" / "satellite", mini.root / "Chicago" / "panorama"
    missing = satellite / mini.tiles["Seattle"][2]
    missing.unlink()
    cut = panorama / mini.panoramas["Chicago"][1]
    cut.write_bytes(cut.read_bytes()[:300])
    empty = panorama / mini.panoramas["Chicago"][2]
    empty.write_bytes(b"")
    hole = satellite / mini.tiles["Seattle"][7]
    data = bytearray(hole.read_bytes())
    data[len(data) // 2] ^= 255
    hole.write_bytes(data)

    listed = tmp_path / "bad.txt"
    assert run_command("check", f"--root={mini.root}", f"--list={listed}") == 1
    printed = capsys.readouterr().out
    assert missing.name in printed
    assert f"{cut}: this JPEG is truncated" in printed
    assert f"{empty}: the file is empty" in printed
    assert hole.name not in printed  # the damage lies between the ends
    assert "Not ready" in printed
    lines = listed.read_text().splitlines()
    assert len(lines) == 3
    assert f"{missing}: missing" in lines

    assert run_command("check", f"--root={mini.root}", "--images=full", f"--list={listed}") == 1
    assert hole.name in capsys.readouterr().out
    assert len(listed.read_text().splitlines()) == 4


def unfit_images(rng):
    """(view, file's bytes, what is said of it, whether its ends tell)."""
    tile, pano = rng.integers(0, 256, (64, 64, 3), np.uint8), rng.integers(0, 256, (64, 128, 3), np.uint8)
    turned = image_codec.encode_jpeg(pano)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"
    turned = turned[:2] + b"\xff\xe1\0" + bytes([len(exif) + 2]) + exif + turned[2:]
    see_through = cv2.imencode(".png", np.concatenate([tile, tile[..., :1]], axis=2))[1].tobytes()
    return [
        (
            "aerial",
            image_codec.encode_png(tile[:, :60]),
            "64 x 60 pixels (height x width), where a tile",
            True,
        ),
        ("ground", image_codec.encode_jpeg(pano[:, :100]), "64 x 100 pixels", True),
        ("ground", image_codec.encode_jpeg(tile), "twice as wide as high", True),
        ("aerial", cv2.imencode(".png", tile[..., 0])[1].tobytes(), "it is greyscale", True),
        ("ground", cv2.imencode(".jpg", pano[..., 0])[1].tobytes(), "it is greyscale", True),
        ("ground", simplejpeg.encode_jpeg(np.dstack([pano, pano[..., 0]]), colorspace="CMYK"), "it is CMYK", True),
        ("aerial", cv2.imencode(".png", tile.astype(np.uint16) * 257)[1].tobytes(), "16 bits a sample", True),
        ("ground", turned, "EXIF orientation is 6", True),
        ("aerial", see_through, "transparent", False),
        ("aerial", b"", "the file is empty", True),
        ("ground", b"<html>log in</html>", "neither a JPEG nor a PNG", True),
    ]


def test_unfit_images_are_listed_all_at_once_and_not_prepared(run_command, write_vigor, tmp_path, capsys):
    mini = write_vigor(rows=4, panoramas=12, trains=8)
    unfit = unfit_images(np.random.default_rng(0))
    names = {"aerial": iter(mini.tiles["Seattle"]), "ground": iter(mini.panoramas["Seattle"])}
    paths = [mini.root / "Seattle" / FOLDER[view] / next(names[view]) for view, *_ in unfit]
    whole = [path.read_bytes() for path in paths]
    for path, (_, data, _, _) in zip(paths, unfit, strict=True):
        path.write_bytes(data)
    for images in ("headers", "full"):
        assert run_command("check", f"--root={mini.root}", f"--images={images}", f"--list={tmp_path / 'list'}") == 1
        capsys.readouterr()
        lines = (tmp_path / "list").read_text().splitlines()
        expected = [item for item in zip(paths, unfit, strict=True) if item[1][3] or images == "full"]
        assert len(lines) == len(expected)
        for path, (_, _, message, _) in expected:
            (line,) = [line for line in lines if line.startswith(f"{path}: ")]
            assert message in line

    for path, data in zip(paths, whole, strict=True):
        path.write_bytes(data)
    for path, (_, data, message, _), original in zip(paths, unfit, whole, strict=True):
        path.write_bytes(data)
        with pytest.raises(ImageError) as caught:
            datasets.load(mini.config(tmp_path / "prepared", protocols=("same_area",)), RenderedCityConfig())
        assert str(caught.value).startswith(f"{path}: ")
        assert message in str(caught.value)
        path.write_bytes(original)


def test_images_of_several_sizes_are_noted(run_command, write_vigor, capsys):
    mini = write_vigor()
    path = mini.root / "Seattle" / "panorama" / mini.panoramas["Seattle"][0]
    path.write_bytes(image_codec.encode_jpeg(np.zeros((32, 64, 3), np.uint8)))
    assert run_command("check", f"--root={mini.root}") == 0
    printed = capsys.readouterr().out
    assert "6 of 64x128, 1 of 32x64" in printed
    assert "note: the ground images differ in size" in printed


def test_long_lists_are_cut_in_the_report_but_not_in_the_file(run_command, write_vigor, tmp_path, capsys):
    mini = write_vigor()
    for path in (mini.root / "Seattle" / "satellite").iterdir():
        path.unlink()
    listed = tmp_path / "bad.txt"
    assert run_command("check", f"--root={mini.root}", f"--list={listed}") == 1
    assert "and 2 more" in capsys.readouterr().out
    assert len(listed.read_text().splitlines()) == 12


def test_damaged_labels_and_missing_folders_are_reported_with_the_rest(run_command, write_vigor, capsys):
    mini = write_vigor()
    path = mini.root / "splits__corrected/Seattle/same_area_balanced_test__corrected.txt"
    path.write_text(path.read_text().rsplit(" ", 1)[0])
    shutil.rmtree(mini.root / "Chicago" / "panorama")
    assert run_command("check", f"--root={mini.root}") == 1
    printed = capsys.readouterr().out
    assert f"{path}, line 3: 12 columns" in printed
    assert "no ground images of Chicago" in printed


def test_more_than_was_published_is_wrong(write_vigor, monkeypatch):
    mini = write_vigor()
    monkeypatch.setitem(check.PUBLISHED, "Seattle", (12, 4, 2))
    monkeypatch.setitem(check.PUBLISHED, "Chicago", (12, 4, 3))
    seattle, chicago = check.check(mini.root, "none").cities[::-1]
    assert "more than was published" in seattle.problems[0]
    assert not chicago.problems
    assert not chicago.notes


def test_no_labels_at_the_root(run_command, write_vigor, tmp_path, capsys):
    write_vigor()
    assert run_command("check", f"--root={tmp_path}") == 2
    error = capsys.readouterr().err
    assert str(tmp_path / "splits__corrected") in error
    assert f"There are some in {tmp_path / 'VIGOR'}: name that." in error


def test_published_totals():
    tiles, train, test = (sum(counts[i] for counts in check.PUBLISHED.values()) for i in range(3))
    assert (tiles, train, test, train + test) == (90_618, 52_609, 52_605, 105_214)
    assert sum(sum(check.PUBLISHED[city][1:]) for city in ("Chicago", "SanFrancisco")) == 53_694
