from collections.abc import Callable

import pytest


@pytest.fixture
def write_vigor(tmp_path, write_mini_vigor) -> Callable:
    """Writes a VIGOR of two cities with a dozen tiles under tmp_path/VIGOR."""

    def write(**options):
        return write_mini_vigor(tmp_path / "VIGOR", **options)

    return write
