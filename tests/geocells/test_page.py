"""The Python of docs/geolocation.md runs as it stands there."""

import re
from pathlib import Path

import pytest

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "geolocation.md"


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("s2geometry", reason="the extra `geocells` is not installed")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", _PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(compile(block, str(_PAGE), "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"{len(names['cells'])} classes; {names['cells'].dropped_photos} photos in none of them"
    assert len(printed) == 3
    assert "'within_2500km'" in printed[2]
