"""What the fuzzed readers read from."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def write_city(tmp_path_factory) -> Callable[[bytes], Path]:
    """`(content) -> root` of a VIGOR whose only city has that content in every label file."""
    root = tmp_path_factory.mktemp("labels")
    folder = root / "splits" / "City"
    folder.mkdir(parents=True)

    def write(content: bytes) -> Path:
        for name in ("satellite_list", "same_area_balanced_train__corrected", "same_area_balanced_test__corrected"):
            (folder / f"{name}.txt").write_bytes(content)
        return root

    return write
