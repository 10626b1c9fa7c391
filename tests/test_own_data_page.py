"""What docs/own_data.md gives people to run makes the labels that the readers take."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from vigor_jax import geometry

PAGE = Path(__file__).parents[1] / "docs" / "own_data.md"


@pytest.mark.skipif(not shutil.which("awk"), reason="awk is not installed")
def test_the_page_makes_labels_of_names(write_mini_vigor, tmp_path):
    from vigor_jax.datasets.vigor import labels

    (script,) = re.findall(r"```awk\n(.*?)```", PAGE.read_text(), re.S)
    (tmp_path / "labels.awk").write_text(script)
    written = write_mini_vigor(tmp_path / "raw", cities=("Seattle",))
    published = labels.read_city(written.root, "Seattle")
    folder = tmp_path / "own" / "splits" / "Mytown"
    folder.mkdir(parents=True)
    (folder / "satellite_list.txt").write_text("".join(f"{name}\n" for name in published.tile_names))
    lines = subprocess.run(
        ["awk", "-f", tmp_path / "labels.awk", folder / "satellite_list.txt", "-"],
        input="".join(f"{name}\n" for name in published.panorama_names),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    train, test = lines.splitlines(keepends=True)[:4], lines.splitlines(keepends=True)[4:]
    (folder / "same_area_balanced_train.txt").write_text("".join(train))
    (folder / "same_area_balanced_test.txt").write_text("".join(test))
    own = labels.read_city(tmp_path / "own", "Mytown", "original")
    lat, lon = own.panorama_lat[:, None], own.panorama_lon[:, None]
    exact = geometry.tile_offset(lat, lon, own.tile_lat[own.references], own.tile_lon[own.references])
    np.testing.assert_allclose(own.published_offset_px, exact, atol=0.06)  # a decimal is written
    assert (np.diff(np.linalg.norm(exact, axis=-1), axis=1) >= 0).all()
