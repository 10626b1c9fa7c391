"""The stored fixtures are what their makers make, and tell networks apart."""

import importlib.util

import numpy as np
import pytest

from tests.models.parity.drawn_numbers import draw, draw_image
from tests.models.parity.fixture import Fixture, assert_same_outputs, assert_same_state, load, outline
from tests.models.parity.make_fixtures import FAMILIES, cases

_MISSING = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]


@pytest.mark.skipif(bool(_MISSING), reason=f"the extra 'parity' is not installed: no {', '.join(_MISSING)}")
@pytest.mark.parametrize("family", FAMILIES)
def test_first_of_a_family_is_made_again(family):
    name, make = next(iter(cases(family).items()))
    stored, made = load(name), make()
    for part in ("config", "image_shape", "shapes", "counters"):
        assert getattr(made, part) == getattr(stored, part), part
    assert set(made.outlines) == set(stored.outlines)
    for output, numbers in stored.outlines.items():
        scale = np.abs(numbers[3:]).max()
        np.testing.assert_allclose(made.outlines[output] / scale, numbers / scale, atol=1e-5, err_msg=output)


def test_drawn_numbers_are_frozen():
    # Stored fixtures are worth nothing once these change.
    kernel = draw("conv.weight", (2, 2, 1, 1))[:, :, 0, 0]
    np.testing.assert_allclose(kernel, [[0.66184092, -1.01245117], [-0.10110411, 1.17053115]], rtol=1e-6)
    np.testing.assert_allclose(draw("norm.running_var", (3,)), [0.75252372, 1.4876157, 1.33570087], rtol=1e-6)
    assert draw("norm.running_var", (1000,)).min() > 0.4


def test_another_output_is_noticed():
    image = draw_image((1, 4, 4, 3))
    fixture = Fixture({}, image.shape, {"a.bias": (3,)}, {"steps": ()}, {"map": outline(image)})
    assert_same_outputs({"map": image}, fixture)
    assert_same_state({"a.bias": draw("a.bias", (3,))}, fixture)
    assert fixture.state()["steps"] == 0
    for wrong in (image * 1.001, image.transpose(0, 2, 1, 3), image[:, :3]):
        with pytest.raises(AssertionError, match="map"):
            assert_same_outputs({"map": wrong}, fixture)
    with pytest.raises(AssertionError):
        assert_same_outputs({}, fixture)
    with pytest.raises(AssertionError):
        assert_same_state({"a.bias": draw("b.bias", (3,))}, fixture)
