"""No value of a recipe changes unseen."""

import difflib

import pytest

from tests.configs import golden


@pytest.mark.parametrize("recipe", golden.recipes())
def test_a_recipe_has_the_values_that_are_written_down(recipe):
    path = golden.FOLDER / f"{recipe}.txt"
    written = path.read_text() if path.exists() else ""
    diff = "\n".join(
        difflib.unified_diff(written.splitlines(), golden.dump(recipe).splitlines(), "written", "now", lineterm="", n=1)
    )
    assert not diff, f"{diff}\n\nIf this is meant, write {path} anew: python -m tests.configs.golden"


def test_nothing_is_written_of_recipes_that_are_gone():
    assert sorted(path.stem for path in golden.FOLDER.iterdir()) == golden.recipes()
