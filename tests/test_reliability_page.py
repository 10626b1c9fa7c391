"""Every test that docs/reliability.md names is there."""

import re
from pathlib import Path

_TESTS = Path(__file__).parent
_NAMED = re.compile(r"`((?:\w+/)*test_\w+\.py)?(?:::(test_\w+))?`")


def test_every_test_named_on_the_page_exists():
    page = (_TESTS.parent / "docs" / "reliability.md").read_text()
    file, counted = None, 0
    for path, name in _NAMED.findall(page):
        if not path and not name:
            continue
        file = path or file  # `::name` is of the file named before
        content = (_TESTS / file).read_text()
        assert not name or f"def {name}(" in content, f"{file}::{name}"
        counted += 1
    assert counted > 50
