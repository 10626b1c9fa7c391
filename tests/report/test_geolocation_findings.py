import dataclasses

import numpy as np
import pytest

from vigor_jax.report import geolocation_findings
from vigor_jax.workdir.errors import RunFileError


def test_read_gives_back_what_was_written(write_geolocation_run, photo_data, placed_found, tmp_path):
    (found,) = geolocation_findings.read(write_geolocation_run(tmp_path), photo_data).values()
    for name, value in dataclasses.asdict(placed_found).items():
        np.testing.assert_array_equal(getattr(found, name), value)


def test_a_run_without_findings(photo_data, tmp_path):
    assert geolocation_findings.read(tmp_path, photo_data) is None


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("row", lambda a: a + 3, "names 20 as a photo with a position of noise, which has 20"),
        ("label", lambda a: a[1:], "differ in length: .*'label': 5"),
        ("placed_lat", lambda a: a + 200, "photo 0 of the split test is placed nowhere"),
        ("placed_lon", lambda a: np.where(np.arange(6) == 4, np.nan, a), "photo 4 of the split test"),
        ("error_km", lambda a: -a, "photo 0 of the split test"),
        ("chance_km", lambda a: None, "the split test has no chance_km. Evaluate the run again"),
    ],
)
def test_findings_of_something_else_are_refused(write_geolocation_run, photo_data, tmp_path, name, change, message):
    path = write_geolocation_run(tmp_path) / "findings.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    changed = change(arrays.pop(f"test/{name}"))
    np.savez(path, **arrays, **({} if changed is None else {f"test/{name}": changed}))
    with pytest.raises(RunFileError, match=message):
        geolocation_findings.read(tmp_path, photo_data)


def test_data_without_positions_are_refused(write_geolocation_run, class_data, tmp_path):
    with pytest.raises(RunFileError, match="another data set"):
        geolocation_findings.read(write_geolocation_run(tmp_path), class_data)
