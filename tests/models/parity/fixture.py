"""What an independent implementation gave, stored as little as will tell two networks apart.

A fixture holds no weights: names and shapes, from which `drawn_numbers` makes them, the configuration, and of each
output some hundred numbers beside its mean and standard deviation.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.models.parity.drawn_numbers import draw_image, draw_state

FOLDER = Path(__file__).parent / "fixtures"
TOLERANCE = 1e-4  # of the largest number of an output, in float32
_PICKED = 256


@dataclasses.dataclass(frozen=True)
class Fixture:
    """One configuration of one independent implementation.

    Attributes:
      config: what it was built with, as its own library names it.
      image_shape: [B, H, W, 3] of the drawn image that it was fed.
      shapes: of every float array of its state, by name.
      counters: of every integer array: steps counted, tables of indices. Files have them too.
      outlines: by name of the output, `outline` of it; feature maps as [B, H, W, C].
    """

    config: dict[str, Any]
    image_shape: tuple[int, ...]
    shapes: dict[str, tuple[int, ...]]
    counters: dict[str, tuple[int, ...]]
    outlines: dict[str, np.ndarray]

    def state(self) -> dict[str, np.ndarray]:
        """The state that the implementation was filled with; counters as zeros."""
        return draw_state(self.shapes) | {name: np.zeros(shape, np.int64) for name, shape in self.counters.items()}

    def image(self) -> np.ndarray:
        """[B, H, W, 3] float32."""
        return draw_image(self.image_shape)


def outline(output: np.ndarray) -> np.ndarray:
    """Mean, standard deviation, size, and up to 256 numbers that lie evenly over an output [...]."""
    flat = np.asarray(output, np.float64).ravel()
    picked = flat[np.linspace(0, flat.size - 1, min(flat.size, _PICKED)).round().astype(int)]
    return np.concatenate([[flat.mean(), flat.std(), flat.size], picked])


def assert_same_outputs(outputs: Mapping[str, Any], fixture: Fixture, tolerance: float = TOLERANCE) -> None:
    """Every output of the fixture is there and equal, within `tolerance` of its largest stored number."""
    assert set(outputs) == set(fixture.outlines)
    for name, stored in fixture.outlines.items():
        ours = outline(outputs[name])
        assert ours[2] == stored[2], f"{name} has {ours[2]:.0f} numbers, expected {stored[2]:.0f}"
        error = np.abs(ours - stored).max() / np.abs(stored[3:]).max()
        assert error < tolerance, f"{name} differs by {error:.2e} of its largest number"


def assert_same_state(ours: Mapping[str, np.ndarray], fixture: Fixture) -> None:
    """A state written from our variables is the one they were read from, bit for bit; counters are not written."""
    expected = draw_state(fixture.shapes)
    assert set(ours) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)


def save(name: str, fixture: Fixture) -> Path:
    """Writes fixtures/NAME.npz, of some ten kB."""
    FOLDER.mkdir(exist_ok=True)
    told = {key: getattr(fixture, key) for key in ("config", "image_shape", "shapes", "counters")}
    np.savez_compressed(FOLDER / f"{name}.npz", told=json.dumps(told), **fixture.outlines)
    return FOLDER / f"{name}.npz"


def load(name: str) -> Fixture:
    """Reads fixtures/NAME.npz."""
    with np.load(FOLDER / f"{name}.npz") as archive:
        told = json.loads(str(archive["told"]))
        outlines = {key: archive[key] for key in archive.files if key != "told"}
    shapes, counters = ({key: tuple(shape) for key, shape in told[kind].items()} for kind in ("shapes", "counters"))
    return Fixture(told["config"], tuple(told["image_shape"]), shapes, counters, outlines)
