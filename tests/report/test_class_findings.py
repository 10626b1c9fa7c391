import dataclasses

import numpy as np
import pytest

from vigor_jax.report import class_findings
from vigor_jax.workdir.errors import RunFileError


def test_read_gives_back_what_was_written(write_class_run, class_data, class_found, tmp_path):
    (found,) = class_findings.read(write_class_run(tmp_path), class_data).values()
    for name, value in dataclasses.asdict(class_found).items():
        np.testing.assert_array_equal(getattr(found, name), value)
    np.testing.assert_array_equal(found.predicted, [0, 1, 1, 2, 1, 1])


def test_a_run_without_findings(class_data, tmp_path):
    assert class_findings.read(tmp_path, class_data) is None


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("probable", lambda a: a + 3, "names 5 as a class of noise, which has 5"),
        ("label", lambda a: a - 1, "names -1 as a class of noise, which has 5"),
        ("row", lambda a: a + 3, "names 20 as a row of noise, which has 20"),
        ("label", lambda a: a[1:], "differ in length: .*'label': 5"),
    ],
)
def test_findings_of_something_else_are_refused(write_class_run, class_data, tmp_path, name, change, message):
    path = write_class_run(tmp_path) / "findings.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays[f"test/{name}"] = change(arrays[f"test/{name}"])
    np.savez(path, **arrays)
    with pytest.raises(RunFileError, match=message):
        class_findings.read(tmp_path, class_data)
