import dataclasses

import numpy as np
import pytest

from vigor_jax.report import query_findings
from vigor_jax.report.query_findings import Findings
from vigor_jax.workdir.errors import RunFileError


@pytest.mark.parametrize("offsets", [True, False])
def test_read_gives_back_what_was_written(write_findings, offsets, make_findings, report_data, tmp_path):
    written = {"cross_area": make_findings("Chicago", offsets=offsets), "validation": make_findings("Seattle")}
    write_findings(tmp_path, 7, written)
    read = query_findings.read(tmp_path, report_data)
    assert list(read) == ["cross_area", "validation"]
    for split, found in written.items():
        for field in dataclasses.fields(Findings):
            before, after = getattr(found, field.name), getattr(read[split], field.name)
            assert (before is None) == (after is None)
            if before is not None:
                np.testing.assert_array_equal(before, after)
                assert before.dtype == after.dtype
    with np.load(tmp_path / "findings.npz") as archive:
        assert archive["step"] == 7
        assert ("cross_area/offset_px" in archive) == offsets


def test_without_an_offset_a_query_is_placed_at_the_centre_of_its_tile(make_findings):
    found = make_findings("Chicago", offsets=False)
    np.testing.assert_array_equal(found.placed_m, found.centre_error_m)
    found = make_findings("Chicago")
    np.testing.assert_array_equal(found.placed_m, found.error_m)


def test_a_run_without_findings(report_data, tmp_path):
    assert query_findings.read(tmp_path, report_data) is None


def of_a_larger_data_set(arrays):
    arrays["cross_area/top5"] += 1000
    return r"names 10\d\d as a tile of vigor, which has 60"


def of_too_few_queries(arrays):
    arrays["cross_area/rank"] = arrays["cross_area/rank"][:-1]
    return "differ in length: .*'rank': 23"


@pytest.mark.parametrize("change", [of_a_larger_data_set, of_too_few_queries])
def test_findings_of_something_else_are_refused(write_findings, change, make_findings, report_data, tmp_path):
    path = write_findings(tmp_path, 7, {"cross_area": make_findings("Chicago")})
    with np.load(path) as archive:
        arrays = dict(archive)
    message = change(arrays)
    np.savez(path, **arrays)
    with pytest.raises(RunFileError, match=message):
        query_findings.read(tmp_path, report_data)
