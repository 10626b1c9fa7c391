"""Every public loss and metric has an example in its docstring, and that gives what it says."""

import doctest
import inspect
import io
from collections.abc import Callable
from types import ModuleType

import pytest

from vigor_jax import geometry, losses, retrieval
from vigor_jax.retrieval import class_accuracy, embedding_agreement, geolocation_accuracy, position


def _public(module: ModuleType) -> list[Callable]:
    return [member for name in module.__all__ if inspect.isfunction(member := getattr(module, name))]


FUNCTIONS = [
    *_public(losses),
    *_public(retrieval),
    *(position.position_errors_m, position.summary),
    *(class_accuracy.class_accuracy, embedding_agreement.embedding_agreement),
    *(geolocation_accuracy.geolocation_accuracy, geolocation_accuracy.cell_accuracy),
    *(geometry.tile_offset, geometry.tile_iou, geometry.locate, geometry.great_circle_m),
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_the_example_gives_what_it_says(function):
    (found,) = doctest.DocTestFinder(recurse=False).find(function, globs={})
    assert found.examples, f"{function.__name__} has no example"
    output = io.StringIO()
    doctest.DocTestRunner(verbose=False).run(found, out=output.write)
    assert not output.getvalue(), output.getvalue()
